"""Where each anatomy is, to a fraction of a cell; an addition to the paper.

CenterNet's arg-max names a cell, and maps that all anatomies share correct it. Here the centre is
the mean position under the anatomy's own map around its peak: every cell there gets a gradient, and
a patient who moves by part of a cell moves the centre by as much.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from torch import Tensor, nn

from massm.io.templates import ShapeTemplate
from massm.models.dense_heads.center_prior import Candidates, CenterPrior, tells_a_place, weighed
from massm.models.dense_heads.heatmap import (
    flat_index,
    gather_own,
    gaussian_targets,
    nearest_cell,
    valid_cells,
)
from massm.models.losses.focal_regression import masked_mean
from massm.models.precision import in_full_precision
from massm.ops import cell_to_voxel
from massm.registry import MODELS


@dataclass(frozen=True)
class SoftMaps:
    """Raw maps ``[B, K, ...]``: ``where`` (logits of a softmax over all cells), ``presence``
    (logits of a sigmoid) and ``size`` (logarithm of the box's size over the template's)."""

    where: Tensor
    presence: Tensor
    size: Tensor


@MODELS.register_module()
class SoftCenterHead(BaseModule):
    """Reads the pyramid's finest level.

    Args:
        num_anatomies: K.
        in_channels: of the level; ``feat_channels`` of the layer that reads it.
        stride: voxels per cell.
        window: cells to each side of the peak whose mean is the centre.
        sigma: standard deviation of the targets, cells.
        candidates: cells of each map that are weighed with where the other anatomies are.
        loss_heatmap: config of the loss of ``presence``.
    """

    def __init__(
        self,
        num_anatomies: int,
        in_channels: int,
        stride: int,
        feat_channels: int = 32,
        window: int = 3,
        sigma: float = 1.0,
        candidates: int = 512,
        norm_cfg: dict | None = None,
        loss_heatmap: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.stride, self.window, self.sigma = stride, window, sigma
        self.candidates = candidates
        norm = norm_cfg or {'type': 'GN', 'num_groups': 8}
        self.read = nn.Sequential(
            nn.Conv3d(in_channels, feat_channels, 3, padding=1, bias=False),
            build_norm_layer(norm, feat_channels)[1],
            nn.ReLU(inplace=True),
        )
        self.maps = nn.Conv3d(feat_channels, 3 * num_anatomies, 1)
        nn.init.normal_(self.maps.weight, std=0.01)
        nn.init.zeros_(self.maps.bias)
        nn.init.constant_(self.maps.bias[num_anatomies : 2 * num_anatomies], -2.19)
        self.register_buffer('template_radius', torch.ones(num_anatomies, 3))
        self.register_buffer('spacing', torch.ones(()))
        self.prior = CenterPrior(num_anatomies)
        self.loss_heatmap = MODELS.build(loss_heatmap or {'type': 'massm.HeatmapFocalLoss'})

    def read_templates(self, templates: Sequence[ShapeTemplate], spacing: float) -> None:
        """Takes the boxes' sizes from ``templates``; ``spacing`` in mm."""
        self.spacing.fill_(spacing)
        for k, template in enumerate(templates):
            extent = template.local.max(0) - template.local.min(0)
            self.template_radius[k] = torch.as_tensor(extent / (2 * spacing))

    def read_centers(self, centers_mm: np.ndarray) -> None:
        """Takes where the anatomies of a cohort lie, ``[S, K, 3]`` (NaN where one lacks); until
        then every map stands for itself."""
        self.prior.read(centers_mm)

    def forward(self, pyramid: list[Tensor]) -> SoftMaps:
        """Levels fine to coarse."""
        maps = in_full_precision(self.maps, self.read(pyramid[0]))
        return SoftMaps(*maps.float().chunk(3, 1))

    def decode(self, maps: SoftMaps, image_sizes: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes ``[B, K, 6]`` (voxels) and scores ``[B, K]``; padded cells never win.

        Args:
            image_sizes: ``[B, 3]`` voxels before padding.
        """
        valid = valid_cells(maps.where, image_sizes, self.stride)
        where = maps.where.masked_fill(~valid, -1e4)
        if self.prior.is_filled:
            center = self._agreed_center(where, maps.presence, image_sizes)
        else:
            center = self._soft_center(where, _cells(where.flatten(2).argmax(2), where))
        cell = nearest_cell(center, image_sizes, self.stride)
        index = flat_index(cell, where.shape[2:])
        size = gather_own(maps.size, index).clamp(-1, 1).exp()
        score = gather_own(maps.presence, index).sigmoid()
        return torch.cat([center, self.template_radius * size.unsqueeze(2)], -1), score

    def loss(
        self,
        maps: SoftMaps,
        boxes: Tensor,
        has_box: Tensor,
        counted: Tensor,
        image_sizes: Tensor,
    ) -> dict[str, Tensor]:
        """Unweighted: ``L_h`` of presence, ``L_o`` of the centre (cross entropy of the map over all
        cells, and distance of the soft centre in cells), ``L_r`` of the size.

        Args:
            boxes: ``[B, K, 6]`` true centre and radius, voxels; ignored where ``has_box`` is not.
            has_box, counted: ``[B, K]`` bool.
            image_sizes: ``[B, 3]`` voxels before padding.
        """
        valid = valid_cells(maps.where, image_sizes, self.stride)
        target = gaussian_targets(
            maps.where.shape, boxes, has_box, image_sizes, self.stride, 0.0, self.sigma
        )
        where = maps.where.masked_fill(~valid, -1e4)
        share = (target * valid).flatten(2)
        share = share / share.sum(2, keepdim=True).clamp(min=1e-6)
        cross_entropy = -(share * where.flatten(2).log_softmax(2)).sum(2)
        cell = nearest_cell(boxes[..., :3], image_sizes, self.stride)
        error = (self._soft_center(where, cell) - boxes[..., :3]) / self.stride
        distance = nn.functional.smooth_l1_loss(error, torch.zeros_like(error), reduction='none')
        index = flat_index(cell, maps.where.shape[2:])
        size = gather_own(maps.size, index)
        ratio = boxes[..., 3:].clamp(min=0.5).log() - self.template_radius.log()
        return {
            'L_h': self.loss_heatmap(
                maps.presence, target, counted[:, :, None, None, None] & valid
            ),
            'L_r': masked_mean((size - ratio.mean(-1)).square().unsqueeze(-1), has_box),
            'L_o': masked_mean(cross_entropy.unsqueeze(-1) + distance.sum(-1, True), has_box),
        }

    def _agreed_center(self, where: Tensor, presence: Tensor, image_sizes: Tensor) -> Tensor:
        """``[B, K, 3]`` voxels: the soft centre around the cell that is likely under the map and
        under the prior; if none is and the other anatomies tell a place in the volume, there."""
        count = min(self.candidates, where[0, 0].numel())
        probability, index = where.flatten(2).softmax(2).topk(count, 2)
        cells = _cells(index, where)
        found = Candidates.of(
            cells * self.stride * self.spacing,
            probability,
            gather_own(presence, index[..., 0]).sigmoid(),
            image_sizes * self.spacing,
        )
        mean, covariance = self.prior.expectations(found)
        points, none = weighed(found, mean, covariance)
        best = points.argmax(2)
        chosen = cells.gather(2, best[..., None, None].expand(-1, -1, 1, 3)).squeeze(2)
        seen = (none < points.sum(2)) | ~tells_a_place(found, covariance)
        center = self._soft_center(where, chosen)
        return torch.where(seen.unsqueeze(-1), center, (mean / self.spacing).to(center))

    def _soft_center(self, where: Tensor, cell: Tensor) -> Tensor:
        """``[B, K, 3]`` voxels: the mean position under ``where`` in a window around ``cell``."""
        steps = torch.arange(-self.window, self.window + 1, device=where.device)
        offsets = torch.cartesian_prod(steps, steps, steps)
        cells = cell.unsqueeze(2) + offsets
        size = torch.tensor(where.shape[2:], device=where.device)
        inside = ((cells >= 0) & (cells < size)).all(-1)
        index = flat_index(torch.minimum(cells.clamp(min=0), size - 1), where.shape[2:])
        logits = where.flatten(2).gather(2, index).masked_fill(~inside, -1e4)
        return (logits.softmax(2).unsqueeze(-1) * cell_to_voxel(cells, self.stride)).sum(2)


def _cells(index: Tensor, maps: Tensor) -> Tensor:
    """Flat indices ``[...]`` to cells ``[..., 3]``."""
    return torch.stack(torch.unravel_index(index, maps.shape[2:]), -1)
