"""What inference says of one image."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from massm.inference.model_identity import ModelIdentity
from massm.inference.population import percentiles
from massm.shape.size_measures import principal_axes, size_measures
from massm.shape.surface_modes import SurfaceModes
from massm.structures import AnatomyStatus, Grid, Mesh
from massm.structures.modality import DEFAULT_MODALITY


@dataclass(frozen=True, eq=False)
class ShapeResult:
    """One anatomy.

    ``local_mm`` ``[M, 3]`` and ``mesh`` lie in patient mm, ``world_mm`` ``[M, 3]`` in shape space;
    ``box_mm`` ``[8, 3]`` are the corners of its box. ``seen`` ``[M]`` and ``seen_vertices`` ``[V]``
    are false outside the field of view, where the shape model alone speaks. Where the model
    brings its population: ``z_scores`` ``[L]`` along the modes, ``mahalanobis``, ``deviation_mm``
    ``[V]`` (signed distance from the mean shape, outwards positive), ``quantiles`` among the
    training shapes (in equal steps) of measures that follow the patients, and the population's
    leading ``modes`` on the mesh's surface with ``world_vertices`` ``[V, 3]``, the mesh in their
    frame (world mm).
    Where the network says how sure it is: ``uncertainty_mm`` ``[V]``, the standard deviation of the
    surface along its normal.
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
    uncertainty_mm: np.ndarray | None = None
    quantiles: dict[str, list[float]] | None = None
    modes: SurfaceModes | None = None
    world_vertices: np.ndarray | None = None

    @property
    def is_present(self) -> bool:
        """Whether anything was found."""
        return not self.status.is_missing

    @cached_property
    def measures(self) -> dict[str, float]:
        """Volume, surface and extents (:func:`massm.shape.size_measures.size_measures`)."""
        return size_measures(self.mesh)

    @cached_property
    def percentiles(self) -> dict[str, float | None] | None:
        """Where each measure that has ``quantiles`` lies among them, 0 to 100."""
        return None if self.quantiles is None else percentiles(self.measures, self.quantiles)

    @property
    def usual_mahalanobis(self) -> float | None:
        """The root mean square ``mahalanobis`` of the training shapes: the root of the number of
        modes."""
        return None if self.z_scores is None else float(np.sqrt(len(self.z_scores)))

    @cached_property
    def principal_axes(self) -> np.ndarray:
        """``[3, 3]`` unit rows in patient space, of largest spread first; each points to where its
        largest component is positive."""
        return principal_axes(self.mesh)


@dataclass(frozen=True, eq=False)
class InferenceResult:
    """All anatomies of one image, in the geometry of the input file (``grid``). ``volume`` is the
    image itself (``grid.shape``, HU or an MR's own values), for pictures; ``slices`` the files of a
    DICOM folder; ``oriented`` whether the file says how it lies in the patient; ``modality`` the
    model's; ``series`` the UID of a DICOM image; ``model`` which model says all that."""

    source: str
    grid: Grid
    shapes: list[ShapeResult]
    warnings: tuple[str, ...] = ()
    volume: np.ndarray | None = None
    slices: tuple[Path, ...] = ()
    oriented: bool = True
    modality: str = DEFAULT_MODALITY
    series: str | None = None
    model: ModelIdentity | None = None
