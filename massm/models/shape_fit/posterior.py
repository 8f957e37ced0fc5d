"""Pose and shape given measured offsets of particles: a linear Gaussian posterior in closed form.

A shape in the volume is ``x = R (mean + Phi b) + t``. A small change of (rotation, translation, b)
moves its particles along their normals by ``J d``; offsets measured there with their variances, and
the prior of pose and modes, give ``d`` and its covariance without iteration (Albrecht et al. 2013
for the shape part). Along a smooth surface an image says little, so tangents are left to the model.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from massm.models.shape_fit.shape_prior import Shapes


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

    def of(self, anatomies: slice) -> 'FitState':
        """The same of a few ``anatomies``."""
        return FitState(
            self.rotation[anatomies],
            self.translation[anatomies],
            self.coefficients[anatomies],
            self.start[anatomies],
        )

    def world(self, shapes: Shapes) -> Tensor:
        """``[K, N, M, 3]`` the shapes without their pose, mm."""
        bend = torch.einsum('knl,klmc->knmc', self.coefficients, shapes.basis)
        return shapes.mean[:, None] + bend

    def turned(self, vectors: Tensor) -> Tensor:
        """``vectors`` ``[K, N, M, ..., 3]`` of shape space in the volume's axes."""
        return torch.einsum('knij,knm...j->knm...i', self.rotation, vectors)

    def points(self, shapes: Shapes) -> Tensor:
        """``[K, N, M, 3]`` the shapes' particles in the volume, mm."""
        return self.turned(self.world(shapes)) + self.translation[:, :, None]


@dataclass(frozen=True)
class Offsets:
    """How far particles should go along their normals: ``mean`` and ``precision`` ``[K, N, M]`` in
    mm and mm⁻²; a precision of zero says nothing."""

    mean: Tensor
    precision: Tensor


@dataclass(frozen=True)
class Posterior:
    """A change of pose and shape in units of the prior: ``best`` ``[K, N, 6 + L]``, the Cholesky
    factor of its precision ``[K, N, 6 + L, 6 + L]``, and ``jacobian`` ``[K, N, M, 6 + L]``, how
    it moves particles along their normals (mm)."""

    best: Tensor
    factor: Tensor
    jacobian: Tensor

    def deviation(self) -> Tensor:
        """``[K, N, M]`` standard deviation of every particle along its normal, mm."""
        root = torch.linalg.solve_triangular(
            self.factor, self.jacobian.transpose(-1, -2), upper=False
        )
        return root.square().sum(-2).sqrt()


def posterior(
    state: FitState, shapes: Shapes, normals: Tensor, offsets: Offsets, modes: int
) -> Posterior:
    """The posterior of a change of ``state`` given measured ``offsets``.

    Args:
        normals: ``[K, N, M, 3]`` of the particles in the volume.
        modes: how many modes may move; the others stay.
    """
    jacobian = _jacobian(state, shapes, normals, modes)
    weighted = (jacobian * offsets.precision.unsqueeze(-1)).transpose(-1, -2)
    precision = weighted @ jacobian
    precision = precision + torch.eye(precision.shape[-1], device=precision.device)
    factor = torch.linalg.cholesky(precision)
    pull = weighted @ offsets.mean.unsqueeze(-1)
    pull = pull - _deviation_from_prior(state, shapes, modes).unsqueeze(-1)
    return Posterior(torch.cholesky_solve(pull, factor).squeeze(-1), factor, jacobian)


def moved(state: FitState, shapes: Shapes, change: Tensor) -> FitState:
    """``state`` after a change ``[K, N, 6 + L]`` in units of the shapes."""
    turn = rotation_from_vector(change[..., :3] * shapes.rotation_std[:, None])
    coefficients = state.coefficients.clone()
    count = change.shape[-1] - 6
    coefficients[..., :count] = coefficients[..., :count] + change[..., 6:]
    return replace(
        state,
        rotation=turn @ state.rotation,
        translation=state.translation + change[..., 3:6] * shapes.translation_std,
        coefficients=coefficients,
    )


def rotation_from_vector(vector: Tensor) -> Tensor:
    """``[..., 3]`` axis times angle (radians) to ``[..., 3, 3]``."""
    # Rodrigues' formula; the small number keeps its derivative at no turn finite.
    angle = (vector.square().sum(-1, keepdim=True) + 1e-20).sqrt().unsqueeze(-1)
    cross = _cross_matrix(vector)
    turned = torch.sinc(angle / math.pi) * cross
    turned = turned + 0.5 * torch.sinc(angle / (2 * math.pi)).square() * (cross @ cross)
    return turned + torch.eye(3, dtype=vector.dtype, device=vector.device)


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


def _jacobian(state: FitState, shapes: Shapes, normals: Tensor, modes: int) -> Tensor:
    arm = state.turned(state.world(shapes))
    turning = torch.linalg.cross(arm, normals) * shapes.rotation_std[:, None, None]
    # A mode moves a particle by R phi, along its normal by phi . (R' normal), and R' normal is the
    # normal that the mean shape has.
    bending = shapes.along_normals[:, None, :, :modes].expand(-1, normals.shape[1], -1, -1)
    return torch.cat([turning, normals * shapes.translation_std, bending], -1)


def _deviation_from_prior(state: FitState, shapes: Shapes, modes: int) -> Tensor:
    turn = vector_from_rotation(state.rotation) / shapes.rotation_std[:, None]
    shift = (state.translation - state.start) / shapes.translation_std
    return torch.cat([turn, shift, state.coefficients[..., :modes]], -1)
