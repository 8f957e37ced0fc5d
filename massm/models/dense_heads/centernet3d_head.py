"""CenterNet in three dimensions (Zhou et al. 2019), the paper's detector: where each anatomy is."""

from dataclasses import dataclass

import torch
from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from torch import Tensor, nn

from massm.models.dense_heads.heatmap import (
    cell_grid,
    flat_index,
    gather_cells,
    gaussian_targets,
    nearest_cell,
    valid_cells,
)
from massm.models.losses.focal_regression import masked_mean
from massm.models.precision import in_full_precision
from massm.ops import cell_to_voxel, double_resolution
from massm.registry import MODELS
from massm.structures.grid import CELL


@dataclass(frozen=True)
class CenterMaps:
    """Raw outputs at stride R: ``logits`` ``[B, K, ...]`` before the sigmoid, ``radius`` and
    ``offset`` ``[B, 3, ...]`` in voxels."""

    logits: Tensor
    radius: Tensor
    offset: Tensor


@MODELS.register_module()
class CenterNet3DHead(BaseModule):
    """Fuses the pyramid at its finest stride into heat maps, a radius map and an offset map.

    Args:
        num_anatomies: K.
        in_channels: of every pyramid level.
        feat_channels: of the fused map.
        stride: R, voxels per cell.
        sigma_share: standard deviation of the target's Gaussian as a share of the box's radius.
        loss_heatmap, loss_offset: loss configs.
    """

    def __init__(
        self,
        num_anatomies: int,
        in_channels: int = 64,
        feat_channels: int = 64,
        stride: int = CELL,
        sigma_share: float = 0.2,
        norm_cfg: dict | None = None,
        loss_heatmap: dict | None = None,
        loss_offset: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.stride, self.sigma_share = stride, sigma_share
        norm = norm_cfg or {'type': 'GN', 'num_groups': 8}
        self.fuse = nn.Sequential(
            nn.Conv3d(in_channels, feat_channels, 3, padding=1, bias=False),
            build_norm_layer(norm, feat_channels)[1],
            nn.ReLU(inplace=True),
        )
        self.heatmap = self._branch(feat_channels, num_anatomies, norm)
        self.radius = self._branch(feat_channels, 3, norm)
        self.offset = self._branch(feat_channels, 3, norm)
        nn.init.constant_(self.heatmap[-1].bias, -2.19)
        nn.init.constant_(self.radius[-1].bias, 2.0)
        self.loss_heatmap = MODELS.build(loss_heatmap or {'type': 'massm.HeatmapFocalLoss'})
        self.loss_offset = MODELS.build(loss_offset or {'type': 'massm.FocalRegressionLoss'})

    @staticmethod
    def _branch(channels: int, out: int, norm: dict) -> nn.Sequential:
        last = nn.Conv3d(channels, out, 1)
        nn.init.normal_(last.weight, std=0.01)
        nn.init.zeros_(last.bias)
        return nn.Sequential(
            nn.Conv3d(channels, channels, 3, padding=1, bias=False),
            build_norm_layer(norm, channels)[1],
            nn.ReLU(inplace=True),
            last,
        )

    def forward(self, pyramid: list[Tensor]) -> CenterMaps:
        """Levels fine to coarse, each half the size of the last (rounded up)."""
        fused = pyramid[-1]
        for level in reversed(pyramid[:-1]):
            fused = level + double_resolution(fused, level.shape[2:])
        x = self.fuse(fused)
        radius, offset = (
            in_full_precision(branch[-1], branch[:-1](x)) for branch in (self.radius, self.offset)
        )
        radius = nn.functional.softplus(radius) * self.stride
        return CenterMaps(self.heatmap(x), radius, offset * self.stride)

    def decode(self, maps: CenterMaps, image_sizes: Tensor) -> tuple[Tensor, Tensor]:
        """The arg-max cell h of each channel: centre = voxel(h) + offset(h), radius(h).

        Args:
            image_sizes: ``[B, 3]`` voxels before padding; padded cells never win.

        Returns:
            ``boxes`` ``[B, K, 6]`` (voxels) and ``scores`` ``[B, K]`` in [0, 1].
        """
        valid = valid_cells(maps.logits, image_sizes, self.stride)
        return self._decode(maps, valid)

    def _decode(self, maps: CenterMaps, where: Tensor) -> tuple[Tensor, Tensor]:
        logits = maps.logits.float().masked_fill(~where, -1e4)
        best, index = logits.flatten(2).max(2)
        size = logits.shape[2:]
        cell = torch.stack(torch.unravel_index(index, size), -1)
        center = cell_to_voxel(cell, self.stride) + gather_cells(maps.offset.float(), index)
        return torch.cat([center, gather_cells(maps.radius.float(), index)], -1), best.sigmoid()

    def loss(
        self,
        maps: CenterMaps,
        boxes: Tensor,
        has_box: Tensor,
        counted: Tensor,
        image_sizes: Tensor,
    ) -> dict[str, Tensor]:
        """``L_h``, ``L_r``, ``L_o``, unweighted.

        The centre loss looks at the arg-max cell inside the true box, the cell that decoding will
        choose once the heat map is right; anywhere else an offset could not be learnt.

        Args:
            boxes: ``[B, K, 6]`` true centre and radius, voxels; ignored where ``has_box`` is not.
            has_box, counted: ``[B, K]`` bool.
            image_sizes: ``[B, 3]`` voxels before padding.
        """
        valid = valid_cells(maps.logits, image_sizes, self.stride)
        target = gaussian_targets(
            maps.logits.shape, boxes, has_box, image_sizes, self.stride, self.sigma_share
        )
        mask = counted[:, :, None, None, None] & valid
        inside = valid & _in_box(maps.logits, boxes, has_box, image_sizes, self.stride)
        found, _ = self._decode(maps, inside)
        truth = nearest_cell(boxes[..., :3], image_sizes, self.stride)
        index = flat_index(truth, maps.logits.shape[2:])
        radius = gather_cells(maps.radius.float(), index)
        return {
            'L_h': self.loss_heatmap(maps.logits, target, mask),
            'L_r': masked_mean((radius - boxes[..., 3:]).square(), has_box),
            'L_o': self.loss_offset(found[..., :3], boxes[..., :3], has_box),
        }


def _in_box(
    logits: Tensor, boxes: Tensor, has_box: Tensor, image_sizes: Tensor, stride: int
) -> Tensor:
    """``[B, K, X, Y, Z]``: cells in the middle half of the true box, its own cell always among
    them."""
    cells = cell_to_voxel(cell_grid(logits), stride)
    center = cell_to_voxel(nearest_cell(boxes[..., :3], image_sizes, stride), stride)
    center, half = center[:, :, None, None, None], 0.5 * boxes[:, :, None, None, None, 3:]
    return ((cells - center).abs() <= half).all(-1)
