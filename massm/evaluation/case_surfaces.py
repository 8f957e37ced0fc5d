"""Surfaces of tested cases with their distance to the reference, for pictures."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from massm.evaluation.case_prediction import CasePrediction
from massm.io.meshes import read_mesh
from massm.io.templates import read_template
from massm.shape.surface import surface_distance
from massm.shape.surface_warp import SurfaceWarp
from massm.structures import Mesh


@dataclass(frozen=True, eq=False)
class CaseSurface:
    """A predicted ``mesh`` (patient mm) and ``distance_mm`` ``[V]`` from each vertex to the surface
    of the reference mask."""

    id: str
    anatomy: str
    mesh: Mesh
    distance_mm: np.ndarray


class CaseSurfaces:
    """Warps the dataset's templates to predicted particles; each surface is made once.

    Args:
        root: the dataset.
    """

    def __init__(self, root: Path) -> None:
        self._template = cache(lambda name, count: _load(root, name, count))
        self._made: dict[tuple[str, str], CaseSurface | None] = {}

    def of(self, case: CasePrediction, anatomy: str) -> CaseSurface | None:
        """None where the subject has no whole ``anatomy``, or the network no local particles."""
        key = (case.id, anatomy)
        if key not in self._made:
            self._made[key] = self._make(case, anatomy)
        return self._made[key]

    def _make(self, case: CasePrediction, anatomy: str) -> CaseSurface | None:
        k = case.anatomies.index(anatomy)
        reference = case.meshes[k]
        if reference is None or case.local_mm is None:
            return None
        template, warp = self._template(anatomy, case.local_mm.shape[1])
        mesh = template.with_vertices(warp.apply(case.local_mm[k]))
        distance = surface_distance(mesh.vertices, read_mesh(reference))
        return CaseSurface(case.id, anatomy, mesh, distance)


def _load(root: Path, anatomy: str, particles: int) -> tuple[Mesh, SurfaceWarp]:
    template = read_template(root, anatomy, particles)
    return template.mesh, SurfaceWarp(template.mesh.vertices, template.local)
