"""How large a surface is: volume, area, extents."""

import numpy as np

from massm.structures import Mesh

SIZES = ('volume_ml', 'surface_cm2', 'axis1_mm', 'axis2_mm', 'axis3_mm')


def size_measures(mesh: Mesh) -> dict[str, float]:
    """By the names of :data:`SIZES` its volume, its area and its extents along the principal axes,
    longest spread first."""
    lengths = np.ptp(mesh.vertices @ principal_axes(mesh).T, axis=0)
    values = (mesh.volume() / 1000, mesh.area() / 100, *lengths)
    return {name: float(value) for name, value in zip(SIZES, values, strict=True)}


def principal_axes(mesh: Mesh) -> np.ndarray:
    """``[3, 3]`` unit rows in the mesh's frame, of largest spread of its vertices first; each
    points to where its largest component is positive."""
    offset = mesh.vertices - mesh.vertices.mean(0)
    _, _, axes = np.linalg.svd(offset, full_matrices=False)
    largest = np.abs(axes).argmax(1)
    return axes * np.sign(axes[np.arange(3), largest])[:, None]
