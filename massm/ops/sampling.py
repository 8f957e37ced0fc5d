"""Trilinear sampling of volumes at fractional voxel positions."""

import torch
import torch.nn.functional as F
from torch import Tensor


def sample_volume(
    volume: Tensor, points_vox: Tensor, mode: str = 'bilinear', padding_mode: str = 'border'
) -> Tensor:
    """Samples ``volume`` at ``points_vox``. The one place that knows ``grid_sample``'s reversed
    axis order and its [-1, 1] range.

    Args:
        volume: ``[N, C, X, Y, Z]``.
        points_vox: ``[N, A, B, D, 3]`` fractional indices (x, y, z); voxel centres are integers.
        mode: ``bilinear`` (trilinear here) or ``nearest``.
        padding_mode: what lies outside: ``border`` repeats the edge, ``zeros`` is zero.

    Returns:
        ``[N, C, A, B, D]`` of the volume's type. Positions and weights are float32 at least: in
        bfloat16 they would be up to a tenth of a cell off.
    """
    wide = torch.promote_types(volume.dtype, torch.float32)
    points = points_vox.to(wide)
    size = torch.tensor(volume.shape[2:], device=volume.device, dtype=wide)
    unit = 2 * points / (size - 1).clamp(min=1) - 1
    sampled = F.grid_sample(volume.to(wide), unit.flip(-1), mode, padding_mode, align_corners=True)
    return sampled.to(volume.dtype)


def sample_patterns(
    volume: Tensor, points_vox: Tensor, frames_vox: Tensor, pattern: Tensor
) -> Tensor:
    """Samples a pattern of places around every point, turned by the point's own frame; the same as
    :func:`sample_volume` at ``point + pattern @ frame``, trilinear with ``border``, with one pass
    over the positions.

    Args:
        volume: ``[N, C, X, Y, Z]``.
        points_vox: ``[N, P, 3]`` voxels.
        frames_vox: ``[N, P, 3, 3]``, rows are the axes of the pattern in voxels.
        pattern: ``[S, 3]`` along those axes.

    Returns:
        ``[N, P, C, S]`` of the volume's type.
    """
    wide = torch.promote_types(volume.dtype, torch.float32)
    size = torch.tensor(volume.shape[2:], device=volume.device, dtype=wide)
    scale = 2 / (size - 1).clamp(min=1)
    unit = (points_vox.to(wide) * scale - 1).flip(-1)
    axes = (frames_vox.to(wide) * scale).flip(-1)
    positions = (pattern.to(wide) @ axes).add_(unit.unsqueeze(2))
    sampled = F.grid_sample(
        volume.to(wide), positions.unsqueeze(1), 'bilinear', 'border', align_corners=True
    )
    return sampled[:, :, 0].transpose(1, 2).to(volume.dtype)
