"""What an image shows around a particle: lines along its normal, through it and beside it."""

import torch
from torch import Tensor

# One through the particle, four beside it.
LINES = 5


def profile_pattern(reach: float, samples: int, beside: float) -> Tensor:
    """``[5 * samples, 3]`` mm: where to look along a particle's normal and two tangents.

    Args:
        reach: half the length of a line.
        samples: on each line.
        beside: distance of the four outer lines from the one through the particle.
    """
    along = torch.linspace(-reach, reach, samples)
    across = torch.tensor([(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]) * float(beside)
    lines = torch.cat(
        [along.view(1, -1, 1).expand(LINES, -1, 1), across[:, None].expand(-1, samples, -1)], -1
    )
    return lines.flatten(0, 1)


def inside_volume(points_vox: Tensor, sizes: Tensor) -> Tensor:
    """``[B, ...]`` bool: which of ``points_vox`` ``[B, ..., 3]`` lie in their volume of ``sizes``
    ``[B, 3]`` voxels."""
    last = sizes.view(len(sizes), *[1] * (points_vox.dim() - 2), 3) - 0.5
    return ((points_vox >= -0.5) & (points_vox <= last)).all(-1)
