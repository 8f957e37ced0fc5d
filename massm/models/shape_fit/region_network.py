"""Draws each anatomy in its region: one UNet for all, whose normalisation knows the anatomy.

The pose is known there, so that a few cells an anatomy at little cost see what a network on the
whole volume needs many more for (benchmarks/accuracy.md). Sub-pixel convolution (Shi et al. 2016)
at the end: nothing is computed on the finest cells.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from massm.errors import ConfigError
from massm.models.dense_heads.segmentation_head import voxels_of_cells
from massm.models.losses.soft_dice import soft_dice
from massm.models.shape_fit.regions import FAR

GROUPS = 8
# So much a millimetre do logits fall across the mean surface before anything is learnt.
FIRST_SLOPE = 0.3


class AnatomyConv(nn.Module):
    """Convolution, group normalisation whose scale and shift are each anatomy's own, ReLU.

    Args:
        num_anatomies: K.
        inside, outside: channels.
        kernel, stride: of the convolution.
    """

    def __init__(
        self, num_anatomies: int, inside: int, outside: int, kernel: int = 3, stride: int = 1
    ) -> None:
        super().__init__()
        padding = (kernel - 1) // 2
        self.conv = nn.Conv3d(inside, outside, kernel, stride, padding, bias=False)
        self.groups = min(GROUPS, outside)
        self.scale = nn.Parameter(torch.ones(num_anatomies, outside, 1, 1, 1))
        self.shift = nn.Parameter(torch.zeros(num_anatomies, outside, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """``[K * B, inside, ...]``, anatomies slowest."""
        x = F.group_norm(self.conv(x), self.groups)
        batch = len(x) // len(self.scale)
        scale, shift = (p.repeat_interleave(batch, 0) for p in (self.scale, self.shift))
        return torch.relu(torch.addcmul(shift, x, scale))


class RegionNetwork(nn.Module):
    """Regions ``[K, B, C, G, G, G]`` and the cells' ``distance`` ``[K, G, G, G]`` from the mean
    surface (:class:`RegionGrid`) to logits ``[K, B, G, G, G]``.

    Before it learns it draws about the mean shape: one that begins with nothing may never come to
    draw a thin anatomy, of which few cells are inside.

    Args:
        num_anatomies: K.
        in_channels: C.
        channels: of the levels, the first at half of the regions' cells; G must be a multiple of
            two to the number of levels.

    Raises:
        ConfigError: there are no channels, or they make no whole groups.
    """

    def __init__(self, num_anatomies: int, in_channels: int, channels: Sequence[int]) -> None:
        super().__init__()
        if not channels or any(width < 1 or width % min(GROUPS, width) for width in channels):
            raise ConfigError(
                f'region.channels must be multiples of {GROUPS}, or fewer, got {tuple(channels)}'
            )
        k = num_anatomies
        self.stem = AnatomyConv(k, in_channels + 1, channels[0], kernel=4, stride=2)
        self.down = nn.ModuleList(
            nn.Sequential(
                AnatomyConv(k, channels[max(i - 1, 0)], width, stride=2 if i else 1),
                AnatomyConv(k, width, width),
            )
            for i, width in enumerate(channels)
        )
        self.up = nn.ModuleList(
            AnatomyConv(k, channels[i] + channels[i + 1], channels[i])
            for i in reversed(range(len(channels) - 1))
        )
        self.last = nn.Parameter(0.05 * torch.randn(k, 8, channels[0]))
        self.bias = nn.Parameter(torch.zeros(k, 1, 1, 1, 1))
        self.slope = nn.Parameter(torch.full((k, 1, 1, 1, 1), FIRST_SLOPE))

    def forward(self, regions: Tensor, distance: Tensor) -> Tensor:
        """See the class."""
        outside = distance.unsqueeze(1).expand(-1, regions.shape[1], -1, -1, -1)
        x = torch.cat([regions, outside.unsqueeze(2)], 2).flatten(0, 1)
        x = self.stem(x.contiguous(memory_format=torch.channels_last_3d))
        levels = []
        for level in self.down:
            x = level(x)
            levels.append(x)
        for level, finer in zip(self.up, levels[-2::-1], strict=True):
            x = level(torch.cat([finer, F.interpolate(x, scale_factor=2.0, mode='nearest')], 1))
        x = x.unflatten(0, regions.shape[:2])
        parts = torch.einsum('kbcxyz,kpc->kbpxyz', x, self.last)
        logits = voxels_of_cells(parts.flatten(0, 1), 2).view(outside.shape)
        return logits + self.bias - self.slope * FAR * outside


def region_loss(logits: Tensor, inside: Tensor) -> Tensor:
    """``[K, B]`` soft Dice and twice the cross entropy of ``logits`` against the share of each cell
    that is ``inside``, both ``[K, B, G, G, G]``."""
    surprise = F.binary_cross_entropy_with_logits(logits, inside, reduction='none')
    return 1 - soft_dice(logits.sigmoid(), inside) + 2 * surprise.flatten(2).mean(2)
