"""A mask of every anatomy, to the voxel, from a coarser map; an addition to the paper.

Masks of all patients, also of those whose anatomy is cut by the scan and has no shape, teach the
features where surfaces are. Every cell of the finest map says which of its own voxels are inside,
so that nothing is computed on the full grid (sub-pixel convolution, Shi et al. 2016).
"""

import torch
import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from torch import Tensor, nn

from massm.models.losses.focal_regression import masked_mean
from massm.models.losses.soft_dice import soft_dice
from massm.registry import MODELS

# Cross entropy is counted by the anatomy's own size, so that a small one in a large scan is no less
# worth than a large one; this share of the volume more, for those that are absent.
CROSS_ENTROPY, LEAST_SHARE = 0.3, 2e-4
NOWHERE = 30.0


@MODELS.register_module()
class SegmentationHead(BaseModule):
    """Reads the pyramid's finest level.

    Args:
        num_anatomies: K.
        in_channels: of the level; ``feat_channels`` of the layer that reads it.
        stride: voxels per cell.
    """

    def __init__(
        self,
        num_anatomies: int,
        in_channels: int,
        stride: int,
        feat_channels: int = 32,
        norm_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.stride = stride
        norm = norm_cfg or {'type': 'GN', 'num_groups': 8}
        self.read = nn.Sequential(
            nn.Conv3d(in_channels, feat_channels, 3, padding=1, bias=False),
            build_norm_layer(norm, feat_channels)[1],
            nn.ReLU(inplace=True),
        )
        self.logits = nn.Conv3d(feat_channels, num_anatomies * stride**3, 1)
        nn.init.normal_(self.logits.weight, std=0.01)
        nn.init.constant_(self.logits.bias, -6.0)  # almost all voxels belong to no anatomy

    def forward(self, pyramid: list[Tensor]) -> Tensor:
        """Levels fine to coarse to logits ``[B, K, X, Y, Z]`` on the grid of the volumes."""
        return voxels_of_cells(self.logits(self.read(pyramid[0])).float(), self.stride)

    def loss(self, logits: Tensor, masks: Tensor, labelled: Tensor, sizes: Tensor) -> Tensor:
        """``L_s``, unweighted: :func:`mask_loss`."""
        return mask_loss(logits, masks, labelled, sizes)


def mask_loss(logits: Tensor, masks: Tensor, labelled: Tensor, sizes: Tensor) -> Tensor:
    """Soft Dice and cross entropy, mean over the anatomies that are labelled.

    Args:
        logits: ``[B, K, X, Y, Z]``.
        masks: ``[B, K, X, Y, Z]`` in [0, 1], the share of each voxel that is inside.
        labelled: ``[B, K]`` bool.
        sizes: ``[B, 3]`` voxels before padding; padding does not count.
    """
    # Padding: certainly no anatomy, and true. One fill instead of a product at every step.
    logits = logits.masked_fill(~inside_sizes(logits, sizes), -NOWHERE)
    cross_entropy = F.binary_cross_entropy_with_logits(logits, masks, reduction='none')
    voxels = masks.flatten(2).sum(2)
    surprise = cross_entropy.flatten(2).sum(2) / (voxels + LEAST_SHARE * sizes.prod(1)[:, None])
    loss = 1 - soft_dice(logits.sigmoid(), masks) + CROSS_ENTROPY * surprise
    return masked_mean(loss.unsqueeze(-1), labelled)


def voxels_of_cells(cells: Tensor, stride: int) -> Tensor:
    """``[B, C * stride³, X, Y, Z]`` to ``[B, C, X * stride, Y * stride, Z * stride]``."""
    parts = cells.unflatten(1, (-1, stride, stride, stride))
    return parts.permute(0, 1, 5, 2, 6, 3, 7, 4).flatten(6, 7).flatten(4, 5).flatten(2, 3)


def inside_sizes(maps: Tensor, sizes: Tensor) -> Tensor:
    """``[B, 1, X, Y, Z]`` bool: which voxels of ``maps`` lie within ``sizes`` ``[B, 3]``."""
    inside = torch.ones((), dtype=torch.bool, device=maps.device)
    for axis in range(3):
        along = torch.arange(maps.shape[2 + axis], device=maps.device) < sizes[:, axis, None]
        view = [len(sizes), 1, 1, 1, 1]
        view[2 + axis] = -1
        inside = inside & along.view(view)
    return inside
