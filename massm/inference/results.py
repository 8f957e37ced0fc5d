"""What inference says of one image."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from massm.structures import AnatomyStatus, Grid, Mesh
from massm.structures.modality import DEFAULT_MODALITY


@dataclass(frozen=True, eq=False)
class ShapeResult:
    """One anatomy.

    ``local_mm`` ``[M, 3]`` and ``mesh`` lie in patient mm, ``world_mm`` ``[M, 3]`` in shape space;
    ``box_mm`` ``[8, 3]`` are the corners of its box. ``seen`` ``[M]`` and ``seen_vertices`` ``[V]``
    are false outside the field of view, where the shape model alone speaks. Where the model
    brings its population: ``z_scores`` ``[L]`` along the modes, ``mahalanobis``, ``deviation_mm``
    ``[V]`` (signed distance from the mean shape, outwards positive) and ``percentiles`` of
    ``volume_ml`` and ``surface_cm2`` among the training shapes. Where the network says how sure it
    is: ``uncertainty_mm`` ``[V]``, the standard deviation of the surface along its normal.
    """

    anatomy: str
    status: AnatomyStatus
    reason: str
    score: float
    local_mm: np.ndarray
    world_mm: np.ndarray
    seen: np.ndarray
    mesh: Mesh
    seen_vertices: np.ndarray
    box_mm: np.ndarray
    z_scores: np.ndarray | None = None
    mahalanobis: float | None = None
    deviation_mm: np.ndarray | None = None
    percentiles: dict[str, float | None] | None = None
    uncertainty_mm: np.ndarray | None = None

    @property
    def is_present(self) -> bool:
        """Whether anything was found."""
        return not self.status.is_missing

    @cached_property
    def measures(self) -> dict[str, float]:
        """``volume_ml``, ``surface_cm2`` and the extents along the principal axes, longest first:
        ``axis1_mm`` to ``axis3_mm``."""
        lengths = np.ptp(self.mesh.vertices @ self.principal_axes.T, axis=0)
        return {
            'volume_ml': self.mesh.volume() / 1000,
            'surface_cm2': self.mesh.area() / 100,
            **{f'axis{i}_mm': float(length) for i, length in enumerate(lengths, 1)},
        }

    @cached_property
    def principal_axes(self) -> np.ndarray:
        """``[3, 3]`` unit rows in patient space, of largest spread first; each points to where its
        largest component is positive."""
        offset = self.mesh.vertices - self.mesh.vertices.mean(0)
        _, _, axes = np.linalg.svd(offset, full_matrices=False)
        largest = np.abs(axes).argmax(1)
        return axes * np.sign(axes[np.arange(3), largest])[:, None]


@dataclass(frozen=True, eq=False)
class InferenceResult:
    """All anatomies of one image, in the geometry of the input file (``grid``). ``volume`` is the
    image itself (``grid.shape``, HU or an MR's own values), for pictures; ``slices`` the files of a
    DICOM folder; ``oriented`` whether the file says how it lies in the patient; ``modality`` the
    model's."""

    source: str
    grid: Grid
    shapes: list[ShapeResult]
    warnings: tuple[str, ...] = ()
    volume: np.ndarray | None = None
    slices: tuple[Path, ...] = ()
    oriented: bool = True
    modality: str = DEFAULT_MODALITY
