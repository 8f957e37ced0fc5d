"""Points that live on a triangulation: corners and weights, wherever its vertices go."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

from massm.errors import ShapeError
from massm.shape.particles import farthest_points
from massm.shape.surface import TargetSurface
from massm.structures import Mesh

SAMPLES_PER_POINT = 12
LLOYD_STEPS = 10
REPULSION_STEPS = 60


@dataclass(frozen=True, eq=False)
class SurfaceCoordinates:
    """K points: the vertices ``corners`` ``[K, 3]`` of the triangles they lie in and barycentric
    ``weights`` ``[K, 3]``."""

    corners: np.ndarray
    weights: np.ndarray

    def __len__(self) -> int:
        return len(self.corners)

    def on(self, vertices: np.ndarray) -> np.ndarray:
        """``[K, 3]`` where the points are when the vertices are at ``[V, 3]``."""
        return np.einsum('kc,kcx->kx', self.weights, vertices[self.corners])

    def matrix(self, vertices: int) -> csr_matrix:
        """``[K, V]``: :meth:`on` as a linear map."""
        rows = np.repeat(np.arange(len(self)), 3)
        data = (self.weights.ravel(), (rows, self.corners.ravel()))
        return csr_matrix(data, shape=(len(self), vertices))


def locate(points: np.ndarray, mesh: Mesh) -> SurfaceCoordinates:
    """Coordinates of the places of ``mesh`` nearest to ``points`` ``[K, 3]``, mm."""
    return SurfaceCoordinates(*TargetSurface(mesh).locate(points))


def even_coordinates(mesh: Mesh, count: int, seed: int = 0) -> SurfaceCoordinates:
    """``count`` points spread evenly over ``mesh``, more than vertices if need be.

    A few Lloyd iterations over dense samples cover the surface; then neighbours push each other
    apart, which evens the distance to the nearest neighbour where Lloyd's iteration is slow.

    Raises:
        ShapeError: fewer than four points are asked for.
    """
    if count < 4:
        raise ShapeError(f'{count} particles asked for; a shape needs at least 4')
    samples = _uniform_samples(mesh, SAMPLES_PER_POINT * count, np.random.default_rng(seed))
    centres = samples[farthest_points(samples[: 6 * count], count)]
    surface = TargetSurface(mesh)
    for _ in range(LLOYD_STEPS):
        cell = cKDTree(centres).query(samples)[1]
        size = np.bincount(cell, minlength=count)
        sums = np.stack([np.bincount(cell, samples[:, i], count) for i in range(3)], 1)
        means = np.where(size[:, None] > 0, sums / np.maximum(size, 1)[:, None], centres)
        centres = surface.project(means)[0]
    for _ in range(REPULSION_STEPS):
        centres = surface.project(centres + _repulsion(centres))[0]
    return SurfaceCoordinates(*surface.locate(centres))


def _repulsion(points: np.ndarray) -> np.ndarray:
    """``[K, 3]`` a step away from the nearest neighbours, steeply stronger the nearer they are;
    at most a seventh of the spacing."""
    distance, near = cKDTree(points).query(points, k=min(9, len(points)))
    distance, near = np.maximum(distance[:, 1:], 1e-9), near[:, 1:]
    spacing = np.median(distance[:, 0])
    away = (points[:, None] - points[near]) / distance[..., None]
    step = 0.03 * spacing * ((spacing / distance)[..., None] ** 8 * away).sum(1)
    length = np.linalg.norm(step, axis=1, keepdims=True)
    return step * np.minimum(1, spacing / 7 / np.maximum(length, 1e-12))


def _uniform_samples(mesh: Mesh, count: int, generator: np.random.Generator) -> np.ndarray:
    area = np.linalg.norm(mesh.face_vectors(), axis=1)
    face = generator.choice(len(area), count, p=area / area.sum())
    root, turn = np.sqrt(generator.random(count)), generator.random(count)
    weights = np.stack([1 - root, root * (1 - turn), root * turn], 1)
    return SurfaceCoordinates(mesh.faces[face], weights).on(mesh.vertices)
