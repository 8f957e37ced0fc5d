"""Pose and shape given measured offsets of particles: a linear Gaussian posterior in closed form.

A shape in the volume is ``x = R (mean + Phi b) + t``. A small change of (rotation, translation, b)
moves its particles by ``J d``; offsets measured along each particle's normal and tangents, with
their variances, and the prior of pose and modes give ``d`` and its covariance without iteration
(Albrecht et al. 2013 for the shape part).
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from massm.models.shape_fit.shape_prior import ShapePrior


@dataclass(frozen=True)
class FitState:
    """N fits of each of K shapes.

    ``rotation`` ``[K, N, 3, 3]``, ``translation`` ``[K, N, 3]`` (mm, the volume's axes),
    ``coefficients`` ``[K, N, L]`` (standard deviations), and ``start`` ``[K, N, 3]`` the
    translation that the prior expects.
    """

    rotation: Tensor
    translation: Tensor
    coefficients: Tensor
    start: Tensor

    @classmethod
    def at(cls, center_mm: Tensor, modes: int) -> 'FitState':
        """The mean shape, unturned, the middle of its extent at ``center_mm`` ``[K, N, 3]``."""
        eye = torch.eye(3, device=center_mm.device, dtype=center_mm.dtype)
        return cls(
            eye.expand(*center_mm.shape[:2], 3, 3),
            center_mm,
            center_mm.new_zeros(*center_mm.shape[:2], modes),
            center_mm,
        )

    def world(self, prior: ShapePrior) -> Tensor:
        """``[K, N, M, 3]`` the shapes without their pose, mm."""
        bend = torch.einsum('knl,klmc->knmc', self.coefficients, prior.basis)
        return prior.mean[:, None] + bend

    def turned(self, vectors: Tensor) -> Tensor:
        """``vectors`` ``[K, N, M, ..., 3]`` of shape space in the volume's axes."""
        return torch.einsum('knij,knm...j->knm...i', self.rotation, vectors)

    def points(self, prior: ShapePrior) -> Tensor:
        """``[K, N, M, 3]`` the shapes' particles in the volume, mm."""
        return self.turned(self.world(prior)) + self.translation[:, :, None]


@dataclass(frozen=True)
class Offsets:
    """Where particles should go, measured in their frames (normal, two tangents): ``mean`` and
    ``precision`` ``[K, N, M, 3]`` in mm and mm⁻²; a precision of zero says nothing."""

    mean: Tensor
    precision: Tensor


@dataclass(frozen=True)
class Posterior:
    """A change of pose and shape in units of the prior: ``best`` ``[K, N, 6 + L]``, the Cholesky
    factor of its precision ``[K, N, 6 + L, 6 + L]``, and how it moves particles, ``jacobian``
    ``[K, N, 3M, 6 + L]`` (mm in each particle's frame)."""

    best: Tensor
    factor: Tensor
    jacobian: Tensor

    def deviation(self) -> Tensor:
        """``[K, N, M, 3]`` standard deviation of every particle along its frame's axes, mm."""
        root = torch.linalg.solve_triangular(
            self.factor, self.jacobian.transpose(-1, -2), upper=False
        )
        return root.square().sum(-2).sqrt().unflatten(-1, (-1, 3))


def posterior(
    state: FitState, prior: ShapePrior, frames: Tensor, offsets: Offsets, modes: int
) -> Posterior:
    """The posterior of a change of ``state`` given measured ``offsets``.

    Args:
        frames: ``[K, N, M, 3, 3]``, rows are each particle's normal and tangents in the volume.
        modes: how many modes may move; the others stay.
    """
    jacobian = _jacobian(state, prior, frames, modes)
    weight = offsets.precision.flatten(-2).unsqueeze(-1)
    weighted = (jacobian * weight).transpose(-1, -2)
    precision = weighted @ jacobian
    precision = precision + torch.eye(precision.shape[-1], device=precision.device)
    factor = torch.linalg.cholesky(precision)
    pull = weighted @ offsets.mean.flatten(-2).unsqueeze(-1)
    pull = pull - _deviation_from_prior(state, prior, modes).unsqueeze(-1)
    return Posterior(torch.cholesky_solve(pull, factor).squeeze(-1), factor, jacobian)


def moved(state: FitState, prior: ShapePrior, change: Tensor) -> FitState:
    """``state`` after a change ``[K, N, 6 + L]`` in units of the prior."""
    turn = rotation_from_vector(change[..., :3] * prior.rotation_std)
    coefficients = state.coefficients.clone()
    count = change.shape[-1] - 6
    coefficients[..., :count] = coefficients[..., :count] + change[..., 6:]
    return replace(
        state,
        rotation=turn @ state.rotation,
        translation=state.translation + change[..., 3:6] * prior.translation_std,
        coefficients=coefficients,
    )


def rotation_from_vector(vector: Tensor) -> Tensor:
    """``[..., 3]`` axis times angle (radians) to ``[..., 3, 3]``."""
    return torch.linalg.matrix_exp(_cross_matrix(vector))


def vector_from_rotation(rotation: Tensor) -> Tensor:
    """The inverse of :func:`rotation_from_vector` for angles below a right angle."""
    skew = rotation - rotation.transpose(-1, -2)
    sine = torch.stack([skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0]], -1) / 2
    size = sine.norm(dim=-1, keepdim=True)
    return sine * torch.asin(size.clamp(max=1.0)) / size.clamp(min=1e-6)


def _cross_matrix(vector: Tensor) -> Tensor:
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    rows = [torch.stack(r, -1) for r in ((zero, -z, y), (z, zero, -x), (-y, x, zero))]
    return torch.stack(rows, -2)


def _jacobian(state: FitState, prior: ShapePrior, frames: Tensor, modes: int) -> Tensor:
    arm = state.turned(state.world(prior))
    turning = torch.linalg.cross(arm.unsqueeze(-2).expand_as(frames), frames)
    # A mode moves a particle along R phi: its share along a frame's axis is phi . (R' axis).
    local = torch.einsum('knmai,knij->knmaj', frames, state.rotation)
    bending = torch.einsum('knmaj,klmj->knmal', local, prior.basis[:, :modes])
    parts = [turning * prior.rotation_std, frames * prior.translation_std, bending]
    return torch.cat(parts, -1).flatten(2, 3)


def _deviation_from_prior(state: FitState, prior: ShapePrior, modes: int) -> Tensor:
    turn = vector_from_rotation(state.rotation) / prior.rotation_std
    shift = (state.translation - state.start) / prior.translation_std
    return torch.cat([turn, shift, state.coefficients[..., :modes]], -1)
