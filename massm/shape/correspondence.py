"""Registration of a template surface to a subject's.

The displacement is a low-rank Gaussian process on the template; correspondences (nearest point of
compatible normal, both ways) and a regularised least-squares solve alternate while the noise level
falls. Template and subject are surfaces in one pose (massm.shape.alignment).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from massm.shape.gaussian_process import coarse_to_fine, low_rank
from massm.shape.oriented_points import OrientedPoints
from massm.shape.particles import farthest_points
from massm.shape.surface_coordinates import SurfaceCoordinates
from massm.structures import Mesh

FULL_SCHEDULE = np.geomspace(0.02, 0.001, 30)
SHORT_SCHEDULE = np.geomspace(0.02, 0.003, 10)
MATCHED_PER_VERTEX = 2
# Of the size: how far a match may lie rather than disagree in normal.
NORMAL_WEIGHT = 0.3
LANDMARK_NOISE = 2e-4


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Places of the template, ``coordinates`` of K, that belong to ``points`` ``[K, 3]`` of the
    subject, mm."""

    coordinates: SurfaceCoordinates
    points: np.ndarray


@dataclass(frozen=True, eq=False)
class RegistrationTemplate:
    """What every registration of one anatomy shares: the template's surface (even triangles) and
    the prior's scaled eigenfunctions ``basis`` ``[V, R]`` at its vertices."""

    mesh: Mesh
    basis: np.ndarray

    @property
    def size(self) -> float:
        """The length that noise levels are shares of, mm."""
        return self.mesh.half_extent()


@dataclass(frozen=True, eq=False)
class FitState:
    """One step of a fit: coefficients ``[R, 3]``, noise level and root mean square residual, mm."""

    coefficients: np.ndarray
    noise: float
    residual: float


def make_template(mesh: Mesh, rank: int = 200, nodes: int = 800) -> RegistrationTemplate:
    """Prepares the prior on ``mesh``, mm; ``nodes`` carry its ``rank`` eigenfunctions."""
    chosen = farthest_points(mesh.vertices, min(len(mesh.vertices), nodes))
    process = low_rank(coarse_to_fine(mesh.half_extent()), mesh.vertices[chosen], rank)
    return RegistrationTemplate(mesh, process.basis(mesh.vertices))


def fit_template(
    template: RegistrationTemplate,
    target: Mesh,
    landmarks: Landmarks | None = None,
    noises: np.ndarray = FULL_SCHEDULE,
) -> Iterator[FitState]:
    """Registers the template to ``target`` (same pose, mm), yielding a state after every solve.

    The noise level (of the mean over the vertices) falls geometrically from a 50th of the
    template's size to a 1000th; a lower start lets matches drag the surface along itself and fold.

    Args:
        landmarks: pairs that are to coincide.
        noises: the noise levels, shares of the template's size.
    """
    surface = _matchable(target, MATCHED_PER_VERTEX * len(template.mesh.vertices))
    weight = NORMAL_WEIGHT * template.size
    tree = cKDTree(surface.features(weight))
    origin, basis = template.mesh.vertices, template.basis
    coefficients = np.zeros((basis.shape[1], 3))
    pins = _pins(template, landmarks)
    for noise in template.size * noises:
        moved = template.mesh.with_vertices(origin + basis @ coefficients)
        samples = OrientedPoints(moved.vertices, moved.vertex_normals())
        goal, trust = match_both_ways(samples, surface, tree, weight)
        coefficients = _solve(basis, goal - origin, trust, noise, pins)
        left = (origin + basis @ coefficients - goal)[trust > 0]
        yield FitState(coefficients, float(noise), float(np.sqrt((left**2).sum(1).mean())))


def warp_template(template: RegistrationTemplate, state: FitState) -> np.ndarray:
    """``[V, 3]`` the template's vertices deformed by a fit, mm."""
    return template.mesh.vertices + template.basis @ state.coefficients


def match_both_ways(
    moved: OrientedPoints, surface: OrientedPoints, tree: cKDTree, normal_weight: float
) -> tuple[np.ndarray, np.ndarray]:
    """Where each template vertex is pulled to.

    Forward: onto the tangent plane of its nearest compatible surface point, which leaves sliding
    to the prior. Backward: every surface point pulls the vertex nearest to it, so that no tip of
    the subject is left uncovered.

    Returns:
        ``goal`` ``[V, 3]`` mm and ``weight`` ``[V]``, 0 where no compatible point was found.
    """
    features = moved.features(normal_weight)
    _, match = tree.query(features)
    normals = surface.normals[match]
    forward = ((surface.points[match] - moved.points) * normals).sum(1, keepdims=True) * normals
    weight = (np.einsum('ij,ij->i', moved.normals, normals) > 0.2).astype(float)

    _, back = cKDTree(features).query(surface.features(normal_weight))
    agree = np.einsum('ij,ij->i', moved.normals[back], surface.normals) > 0.2
    back, pull = back[agree], surface.points[agree] - moved.points[back[agree]]
    hits = np.bincount(back, minlength=len(moved.points)).astype(float)
    mean_pull = (
        np.stack([np.bincount(back, pull[:, i], minlength=len(moved.points)) for i in range(3)], 1)
        / np.maximum(hits, 1)[:, None]
    )
    has_pull = (hits > 0).astype(float)
    total = np.maximum(weight + has_pull, 1e-9)[:, None]
    step = (weight[:, None] * forward + has_pull[:, None] * mean_pull) / total
    return moved.points + step, np.clip(weight + has_pull, 0, 1)


def _matchable(target: Mesh, count: int) -> OrientedPoints:
    """About ``count`` vertices of ``target`` with their normals (all of a coarse mesh)."""
    stride = max(1, len(target.vertices) // count)
    return OrientedPoints(target.vertices[::stride], target.vertex_normals()[::stride])


def _pins(
    template: RegistrationTemplate, landmarks: Landmarks | None
) -> tuple[np.ndarray, np.ndarray] | None:
    """Rows of the basis at the landmarks and their displacements, divided by their noise."""
    if landmarks is None:
        return None
    noise = LANDMARK_NOISE * template.size
    rows = landmarks.coordinates.matrix(len(template.mesh.vertices)) @ template.basis
    displacement = landmarks.points - landmarks.coordinates.on(template.mesh.vertices)
    return rows / noise, displacement / noise


def _solve(
    basis: np.ndarray,
    displacement: np.ndarray,
    weight: np.ndarray,
    noise: float,
    pins: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """Posterior mean of the coefficients ``[R, 3]`` given noisy displacements ``[V, 3]``.

    ``noise`` (mm) is that of the vertices' mean: neighbouring vertices say the same thing, so that
    more of them must not outvote the prior.
    """
    weighted = basis * (weight / (len(weight) * noise**2))[:, None]
    # Single precision is ample for the sum, and half the time; the system is solved in double.
    system = (weighted.T.astype(np.float32) @ basis.astype(np.float32)).astype(np.float64)
    system += np.eye(basis.shape[1])
    pull = weighted.T @ displacement
    if pins is not None:
        system += pins[0].T @ pins[0]
        pull += pins[0].T @ pins[1]
    return np.linalg.solve(system, pull)
