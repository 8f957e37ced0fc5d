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
