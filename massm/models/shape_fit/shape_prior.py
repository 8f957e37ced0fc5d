"""What is known of shapes before an image is seen: the population's modes, and smooth bends."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor, nn

from massm.io.templates import USUAL_TURN, ShapeTemplate
from massm.shape.pdm import PointDistributionModel


@dataclass(frozen=True)
class Shapes:
    """K shape models.

    ``mean`` ``[K, M, 3]`` (mm, the middle of its extent at the origin), ``basis`` ``[K, L, M, 3]``
    (mm for one standard deviation): the population's first modes, zeros where it has fewer, then
    smooth bends along the normals that no population of this size shows; ``frames``
    ``[K, M, 3, 3]``, rows the normal and two tangents of each particle; ``along_normals``
    ``[K, M, L]``, what the basis moves along the normals, mm; ``rotation_std`` ``[K, 3]`` about the
    patient's axes, radians, and ``translation_std``, mm an axis, of the pose.
    """

    mean: Tensor
    basis: Tensor
    frames: Tensor
    along_normals: Tensor
    rotation_std: Tensor
    translation_std: float

    def __len__(self) -> int:
        return self.basis.shape[1]

    def of(self, anatomies: slice) -> 'Shapes':
        """The same of a few ``anatomies``."""
        parts = (self.mean, self.basis, self.frames, self.along_normals)
        parts = (*parts, self.rotation_std)
        return Shapes(*(x[anatomies] for x in parts), self.translation_std)


class ShapePrior(nn.Module):
    """The buffers of :class:`Shapes`, so that a checkpoint is enough to infer.

    Args:
        num_anatomies, num_particles: K and M.
        modes: of the population, at most.
        bends: number of smooth modes.
        bend_std: standard deviation of the smooth bends, mm.
        bend_length: over which they are alike, as a share of the shape's size.
        translation_std: of the pose, mm an axis.
    """

    def __init__(
        self,
        num_anatomies: int,
        num_particles: int,
        modes: int = 40,
        bends: int = 60,
        bend_std: float = 1.0,
        bend_length: float = 0.2,
        translation_std: float = 6.0,
    ) -> None:
        super().__init__()
        self.modes, self.bends = modes, min(bends, num_particles)
        self.bend_std, self.bend_length = bend_std, bend_length
        self.translation_std = translation_std
        shape = (num_anatomies, num_particles, 3)
        self.register_buffer('mean', torch.zeros(shape))
        self.register_buffer(
            'basis', torch.zeros(num_anatomies, modes + self.bends, num_particles, 3)
        )
        self.register_buffer(
            'along_normals', torch.zeros(num_anatomies, num_particles, modes + self.bends)
        )
        self.register_buffer('frames', torch.eye(3).expand(*shape[:2], 3, 3).clone())
        self.register_buffer('rotation_std', torch.full((num_anatomies, 3), USUAL_TURN))

    @property
    def shapes(self) -> Shapes:
        """The buffers."""
        return Shapes(
            self.mean,
            self.basis,
            self.frames,
            self.along_normals,
            self.rotation_std,
            self.translation_std,
        )

    def read(self, templates: Sequence[ShapeTemplate]) -> None:
        """Takes the shape models of ``templates``, one an anatomy."""
        for k, template in enumerate(templates):
            mean = template.mean_world
            frames = particle_frames(template)
            self.mean[k] = torch.as_tensor(mean - (mean.min(0) + mean.max(0)) / 2)
            self.basis[k].zero_()
            population = population_modes(template.pdm, self.modes)
            self.basis[k, : len(population)] = torch.as_tensor(population)
            bends = smooth_bends(mean, frames[:, 0], self.bends, self.bend_std, self.bend_length)
            self.basis[k, self.modes :] = torch.as_tensor(bends)
            self.frames[k] = torch.as_tensor(frames)
            along = np.einsum('lmi,mi->ml', self.basis[k].double().cpu().numpy(), frames[:, 0])
            self.along_normals[k] = torch.as_tensor(along)
            self.rotation_std[k] = torch.as_tensor(template.rotation_std)


def population_modes(pdm: PointDistributionModel, count: int) -> np.ndarray:
    """``[L, M, 3]`` the first ``count`` modes at most, mm for one standard deviation."""
    return pdm.truncate(count).displacements


def particle_frames(template: ShapeTemplate) -> np.ndarray:
    """``[M, 3, 3]``: of each particle its surface normal (outwards) and two tangents, as rows."""
    _, nearest = cKDTree(template.mesh.vertices).query(template.local)
    normal = template.mesh.vertex_normals()[nearest]
    # The axis least along the normal gives a first tangent that is never short.
    axis = np.eye(3)[np.abs(normal).argmin(1)]
    first = np.cross(normal, axis)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    return np.stack([normal, first, np.cross(normal, first)], 1)


def smooth_bends(
    points: np.ndarray, normals: np.ndarray, count: int, std: float, length: float
) -> np.ndarray:
    """``[count, M, 3]`` mm: the largest components of a Gaussian process along the normals.

    Args:
        points, normals: ``[M, 3]``.
        std: of the process, mm.
        length: of its Gaussian kernel, as a share of the shape's size (root mean square distance
            to the centre, doubled).
    """
    centred = points - points.mean(0)
    scale = length * 2 * np.sqrt((centred**2).sum(1).mean())
    squares = ((points[:, None] - points[None]) ** 2).sum(-1)
    kernel = std**2 * np.exp(-0.5 * squares / scale**2)
    kernel *= np.clip(normals @ normals.T, 0, None)  # both sides of a thin part move apart
    values, vectors = np.linalg.eigh(kernel)
    largest = np.argsort(values)[::-1][:count]
    along = vectors[:, largest] * np.sqrt(np.maximum(values[largest], 0))
    return along.T[:, :, None] * normals[None]
