"""What an image shows around a particle: lines along its normal, through it and beside it."""

import torch
from torch import Tensor

from massm.ops import sample_volume

# One through the particle, four beside it.
LINES = 5


def profile_positions(
    points_mm: Tensor, frames: Tensor, reach: float, samples: int, beside: float
) -> Tensor:
    """Where to look, mm.

    Args:
        points_mm: ``[..., 3]`` particles.
        frames: ``[..., 3, 3]``, rows: normal and two tangents.
        reach: half the length of a line, mm.
        samples: on each line.
        beside: distance of the four outer lines from the one through the particle, mm.

    Returns:
        ``[..., 5, samples, 3]``.
    """
    along = torch.linspace(-reach, reach, samples, device=points_mm.device)
    across = points_mm.new_tensor([(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]) * beside
    normal, tangents = frames[..., 0, :], frames[..., 1:, :]
    lines = points_mm.unsqueeze(-2) + across @ tangents
    return lines.unsqueeze(-2) + along[:, None] * normal[..., None, None, :]


def sample_profiles(images: Tensor, positions_vox: Tensor) -> Tensor:
    """Samples every image at its own positions.

    Args:
        images: ``[B, C, X, Y, Z]``.
        positions_vox: ``[B, ..., 5, samples, 3]`` voxels.

    Returns:
        ``[B, ..., C * 5 * samples]``.
    """
    batch, middle = positions_vox.shape[0], positions_vox.shape[1:-3]
    lines = positions_vox.flatten(-3, -2).reshape(batch, -1, 1, LINES * positions_vox.shape[-2], 3)
    seen = sample_volume(images, lines)[:, :, :, 0]
    return seen.transpose(1, 2).flatten(2).reshape(batch, *middle, -1)


def inside_volume(points_vox: Tensor, sizes: Tensor) -> Tensor:
    """``[B, ...]`` bool: which of ``points_vox`` ``[B, ..., 3]`` lie in their volume of ``sizes``
    ``[B, 3]`` voxels."""
    last = sizes.view(len(sizes), *[1] * (points_vox.dim() - 2), 3) - 0.5
    return ((points_vox >= -0.5) & (points_vox <= last)).all(-1)
