"""The images of fixed size that DeepSSM takes: a whole scan, or the anatomy cropped and turned."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from massm.errors import ConfigError
from massm.models.precision import in_full_precision
from massm.ops import sample_volume
from massm.shape.alignment import rigid_fit_batched


@dataclass(frozen=True)
class Placement:
    """Where a canvas lies in each volume of a batch: ``point_vox = turn (canvas point - middle) +
    origin``, with canvas points in mm. ``turn`` ``[B, 3, 3]``, voxels a mm; ``origin`` ``[B, 3]``,
    voxels; ``middle`` ``[3]``, mm."""

    turn: Tensor
    origin: Tensor
    middle: Tensor

    def to_voxel(self, points_mm: Tensor) -> Tensor:
        """``[B, ..., 3]`` canvas mm to voxels of the volumes."""
        flat = (points_mm - self.middle).flatten(1, -2)
        moved = in_full_precision(torch.matmul, flat, self.turn.transpose(1, 2))
        return (moved + self.origin[:, None]).view(points_mm.shape)

    def to_canvas(self, points_vox: Tensor) -> Tensor:
        """``[B, M, 3]`` voxels of the volumes to canvas mm."""
        back = torch.linalg.inv(self.turn)
        moved = in_full_precision(
            torch.matmul, points_vox - self.origin[:, None], back.transpose(1, 2)
        )
        return moved + self.middle


def whole(sizes: Tensor, spacing: float) -> Placement:
    """The canvas on the middle of each whole volume of ``sizes`` ``[B, 3]`` voxels; canvas points
    are patient mm from there."""
    count = len(sizes)
    turn = torch.eye(3, device=sizes.device).expand(count, 3, 3) / spacing
    return Placement(turn, (sizes.float() - 1) / 2, torch.zeros(3, device=sizes.device))


def aligned(local_vox: Tensor, world_mm: Tensor, middle: Tensor, spacing: float) -> Placement:
    """The canvas as the true pose says: canvas points are world mm, and ``middle`` ``[3]`` (world
    mm) is the canvas' own.

    Args:
        local_vox, world_mm: ``[B, M, 3]`` the true particles.
    """
    rotation, translation = rigid_fit_batched(world_mm.double(), local_vox.double() * spacing)
    origin = rotation @ middle.double() + translation
    return Placement((rotation / spacing).float(), (origin / spacing).float(), middle)


def canvas_points(shape: tuple[int, int, int], cell_mm: Tensor, middle: Tensor) -> Tensor:
    """``[X, Y, Z, 3]`` mm of the cells of a canvas of ``shape`` about ``middle`` ``[3]``, each
    ``cell_mm`` wide."""
    axes = [torch.arange(n, device=middle.device, dtype=torch.float32) - (n - 1) / 2 for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing='ij'), -1) * cell_mm + middle


def seen(images: Tensor, placement: Placement, points_mm: Tensor) -> Tensor:
    """``[B, C, X, Y, Z]``: the preprocessed volumes at the canvas' points; air (0) outside."""
    points = placement.to_voxel(points_mm.expand(len(images), *points_mm.shape))
    return sample_volume(images, points, padding_mode='zeros')


def whole_canvas(sizes: np.ndarray, voxels: int, least: int) -> tuple[int, int, int]:
    """The shape of the canvas that shows every volume of ``sizes`` ``[N, 3]`` (voxels) in the
    finest cells of which it has at most so many ``voxels``; no finer than the volumes', and at
    least ``least`` along each axis.

    Raises:
        ConfigError: there are less ``voxels`` than that.
    """
    if voxels < least**3:
        raise ConfigError(f'canvas={voxels}: give a shape, or at least {least**3} voxels')
    largest, cell = sizes.max(0), 1.0
    while True:
        x, y, z = np.maximum(np.ceil(largest / cell), least).astype(int).tolist()
        if x * y * z <= voxels:
            return x, y, z
        cell *= 1.005


def whole_cell_mm(sizes: np.ndarray, shape: tuple[int, int, int], spacing: float) -> float:
    """The width of a cell with which every volume of ``sizes`` ``[N, 3]`` (voxels) fits."""
    return float((sizes.max(0) / np.array(shape)).max() * spacing)


def crop_cell_mm(world_mm: np.ndarray, shape: tuple[int, int, int], margin_mm: float) -> float:
    """The width of a cell with which every shape of ``world_mm`` ``[N, M, 3]`` fits, and
    ``margin_mm`` around it."""
    flat = world_mm.reshape(-1, 3)
    extent = np.ptp(flat, axis=0) + 2 * margin_mm
    return float((extent / np.array(shape)).max())
