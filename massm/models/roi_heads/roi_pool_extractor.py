"""Features of each detected box from every pyramid level."""

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from torch import Tensor

from massm.ops import multi_level_roi_pool3d
from massm.registry import MODELS
from massm.structures import Boxes3D


@MODELS.register_module()
class MultiLevelROIPool3D(BaseModule):
    """Pools all boxes of a batch in one call and appends the one-hot anatomy.

    Args:
        in_channels: of every level.
        num_anatomies: K.
        strides: voxels per cell of each level.
        output_sizes: bins per axis of each level, fine to coarse.
        mode: ``max`` (the paper) or ``align`` (sub-voxel box edges).
        margin: boxes are widened by this share, so that the surface and what lies around it is
            seen even where the radius is a little small.
    """

    def __init__(
        self,
        in_channels: int,
        num_anatomies: int,
        strides: Sequence[int],
        output_sizes: tuple[int, ...] = (8, 4, 2, 1),
        mode: str = 'max',
        margin: float = 0.1,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.output_sizes, self.strides = list(output_sizes), list(strides)
        self.mode, self.margin = mode, margin
        self.out_channels = in_channels * sum(n**3 for n in output_sizes) + num_anatomies

    def forward(self, pyramid: list[Tensor], boxes: Tensor) -> Tensor:
        """``boxes`` ``[B, K, 6]`` (voxels) to vectors ``[B, K, out_channels]``."""
        batch, anatomies = boxes.shape[:2]
        widened = boxes.clone()
        widened[..., 3:] = boxes[..., 3:] * (1 + self.margin)
        index = torch.arange(batch, device=boxes.device).view(-1, 1, 1).expand(-1, anatomies, 1)
        rois = torch.cat([index.to(boxes), Boxes3D(widened).corners()], -1).flatten(0, 1)
        pooled = multi_level_roi_pool3d(pyramid, rois, self.output_sizes, self.strides, self.mode)
        one_hot = torch.eye(anatomies, device=boxes.device, dtype=pooled.dtype).repeat(batch, 1)
        return torch.cat([pooled, one_hot], 1).view(batch, anatomies, -1)
