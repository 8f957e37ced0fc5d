"""Moving corresponding points along a surface, towards even spacing and the population's shape.

Minimises, over positions x on one subject's surface,

    weight * (distortion(template -> x) + |what the population's model cannot say of x|²)
        + |x - registered x|²

by preconditioned gradient steps with a line search; every trial is put back onto the surface. The
distortion forbids folds (massm.shape.distortion). The second term is, to the population as a whole,
the gradient of the ensemble entropy ``log det(covariance + alpha I)`` of particle-based shape
modelling (Cates et al. 2007): strong modes are left alone, what no other shape does is pulled in.
The third keeps what the registration saw: ridges and tips stay where they were matched.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse import diags
from scipy.sparse.linalg import SuperLU, splu

from massm.shape.distortion import RestShape, distortion
from massm.shape.pdm import PointDistributionModel
from massm.shape.surface import TargetSurface

# Lengths, as shares of the square root of the template's area, at which a term costs 1.
RESIDUAL_LENGTH = 0.05
ANCHOR_LENGTH = 0.05
# Of the mean variance, added to each mode's: how much weak modes are disbelieved.
SHRINKAGE = 0.1
# Softness of the fold barrier: a triangle turned over costs some thousand times one at rest.
BARRIER = 0.3


@dataclass(frozen=True, eq=False)
class SlidingModel:
    """What sliding needs of the population: the mean's triangulation at ``rest``, the working
    vertices' ``shapes`` model (modes orthonormal under the rest shape's area shares, as
    :func:`weighted_model` makes it), and the correspondence ``weight``."""

    rest: RestShape
    shapes: PointDistributionModel
    weight: float

    @cached_property
    def masses(self) -> tuple[float, float]:
        """Factors of the squared residual and of the squared way from the anchor, 1/mm²."""
        area = self.rest.area
        return self.weight / (RESIDUAL_LENGTH**2 * area), 1 / (ANCHOR_LENGTH**2 * area)

    @cached_property
    def solver(self) -> SuperLU:
        """Factorised preconditioner: the second derivative of the energy at an isometry."""
        stiffness = self.weight * 4 * self.rest.laplacian / self.rest.area
        return splu((stiffness + diags(2 * sum(self.masses) * self.rest.vertex_share)).tocsc())

    @cached_property
    def shrinkage(self) -> np.ndarray:
        """``[L]`` the part of each mode that is believed."""
        variances = self.shapes.variances
        return variances / (variances + SHRINKAGE * variances.sum() / max(len(variances), 1))

    def residual(self, world: np.ndarray) -> np.ndarray:
        """``[V, 3]`` mm: what of ``world`` ``[V, 3]`` the model does not explain."""
        offset = world - self.shapes.mean
        modes = self.shapes.modes
        scores = np.tensordot(modes, self.rest.vertex_share[:, None] * offset, axes=2)
        return offset - np.tensordot(self.shrinkage * scores, modes, axes=1)


def weighted_model(world: np.ndarray, share: np.ndarray) -> PointDistributionModel:
    """The shape model of ``world`` ``[N, V, 3]`` under which a vertex counts by its ``share``
    ``[V]`` of the area: modes are orthonormal in that inner product."""
    root = np.sqrt(share)[:, None]
    model = PointDistributionModel.fit(world * root)
    return PointDistributionModel(model.mean / root, model.modes / root, model.variances)


def slide(
    model: SlidingModel, anchor: np.ndarray, start: np.ndarray, target: TargetSurface, steps: int
) -> np.ndarray:
    """Slides ``start`` ``[V, 3]`` along ``target`` (mm, world frame, as ``anchor``, which is where
    the registration put the vertices).

    Args:
        steps: at most so many accepted steps; stops when none lowers the energy.

    Returns:
        ``[V, 3]`` on the surface.
    """
    points, normals = target.project(start)
    energy, gradient = _energy(model, anchor, points, normals, target.area)
    length = 1.0
    for _ in range(steps):
        step = -model.solver.solve(gradient)
        step -= (step * normals).sum(1, keepdims=True) * normals
        slope = float((step * gradient).sum())
        while True:
            trial, trial_normals = _move(points, normals, length * step, target)
            trial_energy, trial_gradient = _energy(model, anchor, trial, trial_normals, target.area)
            if trial_energy < energy + 1e-3 * length * slope:
                break
            length /= 2
            if length < 1e-3:
                return points
        points, normals, energy, gradient = trial, trial_normals, trial_energy, trial_gradient
        length = min(1.0, 1.5 * length)
    return points


def _move(
    points: np.ndarray, normals: np.ndarray, step: np.ndarray, target: TargetSurface
) -> tuple[np.ndarray, np.ndarray]:
    """Steps and returns to the surface; a point that would land on the far side of a thin part
    stays where it was."""
    moved, moved_normals = target.project(points + step)
    stays = ((normals * moved_normals).sum(1) < 0)[:, None]
    return np.where(stays, points, moved), np.where(stays, normals, moved_normals)


def _energy(
    model: SlidingModel, anchor: np.ndarray, points: np.ndarray, normals: np.ndarray, area: float
) -> tuple[float, np.ndarray]:
    scale = np.sqrt(area / model.rest.area)
    face_normals = normals[model.rest.faces].sum(1)
    face_normals /= np.maximum(np.linalg.norm(face_normals, axis=1, keepdims=True), 1e-9)
    energy, gradient = distortion(model.rest, points / scale, face_normals, BARRIER)
    energy, gradient = model.weight * energy, model.weight / scale * gradient
    share = model.rest.vertex_share[:, None]
    for mass, offset in zip(model.masses, (model.residual(points), points - anchor), strict=True):
        energy += mass * float((share * offset**2).sum())
        gradient = gradient + 2 * mass * share * offset
    return energy, gradient
