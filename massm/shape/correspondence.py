"""Correspondences by registering one template to every shape (DESIGN §7).

Template and subject are surfaces in one pose. The displacement is a low-rank Gaussian process on
the template; correspondences (nearest point of compatible normal, both ways) and a regularised
least-squares solve alternate while the noise level falls.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from massm.errors import ShapeError
from massm.shape.gaussian_process import coarse_to_fine, low_rank
from massm.shape.particles import farthest_points
from massm.shape.surface import closest_points
from massm.structures import Mesh


@dataclass(frozen=True, eq=False)
class OrientedPoints:
    """Surface samples: ``points`` ``[N, 3]`` mm and unit ``normals`` ``[N, 3]``."""

    points: np.ndarray
    normals: np.ndarray

    def features(self, normal_weight: float) -> np.ndarray:
        """``[N, 6]``: nearest neighbours here are near in place and alike in normal.
        ``normal_weight`` is the distance (mm) that a right angle costs, divided by √2."""
        return np.hstack([self.points, normal_weight * self.normals])


@dataclass(frozen=True, eq=False)
class RegistrationTemplate:
    """What every registration of one anatomy shares.

    ``mesh``: the template surface. ``particles`` ``[M]``, ``samples`` ``[S]``: indices of its
    vertices that become particles and that drive the fit. ``basis`` ``[V, R]``: the prior's scaled
    eigenfunctions at the vertices.
    """

    mesh: Mesh
    particles: np.ndarray
    samples: np.ndarray
    basis: np.ndarray

    @property
    def size(self) -> float:
        """Half the longest side of the template's box, mm."""
        return float(np.ptp(self.mesh.vertices, axis=0).max() / 2)


@dataclass(frozen=True, eq=False)
class FitState:
    """One step of a fit: coefficients ``[R, 3]``, noise level and root mean square residual, mm."""

    coefficients: np.ndarray
    noise: float
    residual: float


def make_template(
    mesh: Mesh, count: int, rank: int = 200, samples: int = 2000, nodes: int = 800
) -> RegistrationTemplate:
    """Chooses ``count`` particles on ``mesh`` (farthest points) and prepares the prior.

    Raises:
        ShapeError: the mesh has fewer vertices than particles are asked for.
    """
    if count > len(mesh.vertices):
        raise ShapeError(
            f'{count} particles asked of a template with {len(mesh.vertices)} vertices; ask for '
            'fewer or prepare the masks at a finer spacing'
        )
    order = farthest_points(mesh.vertices, min(len(mesh.vertices), max(samples, count)))
    size = float(np.ptp(mesh.vertices, axis=0).max() / 2)
    process = low_rank(coarse_to_fine(size), mesh.vertices[order[:nodes]], rank)
    return RegistrationTemplate(mesh, order[:count], order[:samples], process.basis(mesh.vertices))


def fit_template(
    template: RegistrationTemplate, target: Mesh, steps: int = 30
) -> Iterator[FitState]:
    """Registers the template to ``target`` (same pose, mm), yielding a state after every solve.

    The noise level (of the mean over the samples) falls geometrically from a 50th of the
    template's size to a 1000th; a lower start lets matches drag the surface along itself and fold.
    """
    surface = OrientedPoints(target.vertices, target.vertex_normals())
    tree = cKDTree(surface.features(0.3 * template.size))
    basis = template.basis[template.samples]
    origin = template.mesh.vertices[template.samples]
    coefficients = np.zeros((basis.shape[1], 3))
    for noise in template.size * np.geomspace(0.02, 0.001, steps):
        moved = _moved_samples(template, coefficients)
        goal, weight = match_both_ways(moved, surface, tree, 0.3 * template.size)
        coefficients = _solve(basis, goal - origin, weight, noise)
        left = (origin + basis @ coefficients - goal)[weight > 0]
        yield FitState(coefficients, float(noise), float(np.sqrt((left**2).sum(1).mean())))


def warp_template(template: RegistrationTemplate, state: FitState) -> np.ndarray:
    """``[V, 3]`` the template's vertices deformed by a fit, mm."""
    return template.mesh.vertices + template.basis @ state.coefficients


def corresponding_particles(
    template: RegistrationTemplate, state: FitState, target: Mesh
) -> np.ndarray:
    """``[M, 3]`` the template's particles on the surface of ``target``, mm."""
    return closest_points(warp_template(template, state)[template.particles], target)


def match_both_ways(
    moved: OrientedPoints, surface: OrientedPoints, tree: cKDTree, normal_weight: float
) -> tuple[np.ndarray, np.ndarray]:
    """Where each template sample is pulled to.

    Forward: onto the tangent plane of its nearest compatible surface point, which leaves sliding
    to the prior. Backward: every surface point pulls the sample nearest to it, so that no tip of
    the subject is left uncovered.

    Returns:
        ``goal`` ``[S, 3]`` mm and ``weight`` ``[S]``, 0 where no compatible point was found.
    """
    _, match = tree.query(moved.features(normal_weight))
    toward = surface.points[match] - moved.points
    normals = surface.normals[match]
    forward = (toward * normals).sum(1, keepdims=True) * normals
    weight = (np.einsum('ij,ij->i', moved.normals, normals) > 0.2).astype(float)

    _, back = cKDTree(moved.features(normal_weight)).query(surface.features(normal_weight))
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


def _moved_samples(template: RegistrationTemplate, coefficients: np.ndarray) -> OrientedPoints:
    moved = template.mesh.with_vertices(template.mesh.vertices + template.basis @ coefficients)
    return OrientedPoints(
        moved.vertices[template.samples], moved.vertex_normals()[template.samples]
    )


def _solve(
    basis: np.ndarray, displacement: np.ndarray, weight: np.ndarray, noise: float
) -> np.ndarray:
    """Posterior mean of the coefficients ``[R, 3]`` given noisy displacements ``[S, 3]``.

    ``noise`` (mm) is that of the samples' mean: neighbouring samples say the same thing, so that
    more of them must not outvote the prior.
    """
    weighted = basis * (weight / len(weight))[:, None]
    system = weighted.T @ basis + noise**2 * np.eye(basis.shape[1])
    return np.linalg.solve(system, weighted.T @ displacement)
