"""How large a surface is: volume, area, extents."""

import numpy as np

from massm.structures import Mesh


def size_measures(mesh: Mesh) -> dict[str, float]:
    """``volume_ml``, ``surface_cm2`` and the extents along the principal axes, longest spread
    first: ``axis1_mm`` to ``axis3_mm``."""
    lengths = np.ptp(mesh.vertices @ principal_axes(mesh).T, axis=0)
    return {
        'volume_ml': mesh.volume() / 1000,
        'surface_cm2': mesh.area() / 100,
        **{f'axis{i}_mm': float(length) for i, length in enumerate(lengths, 1)},
    }


def principal_axes(mesh: Mesh) -> np.ndarray:
    """``[3, 3]`` unit rows in the mesh's frame, of largest spread of its vertices first; each
    points to where its largest component is positive."""
    offset = mesh.vertices - mesh.vertices.mean(0)
    _, _, axes = np.linalg.svd(offset, full_matrices=False)
    largest = np.abs(axes).argmax(1)
    return axes * np.sign(axes[np.arange(3), largest])[:, None]
