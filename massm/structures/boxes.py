"""Axis-aligned 3D boxes in voxel space: centre and radius (half extent) per axis."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Boxes3D:
    """``tensor`` ``[..., 6]``: centre (x, y, z) and radius (x, y, z), voxels.

    Raises:
        ValueError: the last axis is not of length 6.
    """

    tensor: Tensor

    def __post_init__(self) -> None:
        if self.tensor.shape[-1] != 6:
            raise ValueError(f'boxes are [..., 6], got {tuple(self.tensor.shape)}')

    @classmethod
    def from_points(cls, points_vox: Tensor) -> 'Boxes3D':
        """The boxes of ``[..., M, 3]`` points; the centre is the middle of their extent."""
        low, high = points_vox.amin(-2), points_vox.amax(-2)
        return cls(torch.cat([(low + high) / 2, (high - low) / 2], -1))

    @property
    def center(self) -> Tensor:
        """``[..., 3]``, voxels."""
        return self.tensor[..., :3]

    @property
    def radius(self) -> Tensor:
        """``[..., 3]``, voxels."""
        return self.tensor[..., 3:]

    def holds(self, points_vox: Tensor, share: float = 1.0) -> Tensor:
        """``[...]``: whether each of ``[..., 3]`` points lies in the middle ``share`` of its box
        along every axis."""
        return ((points_vox - self.center).abs() <= share * self.radius).all(-1)

    def corners(self) -> Tensor:
        """``[..., 6]``: low corner (x, y, z) and high corner (x, y, z), voxels."""
        return torch.cat([self.center - self.radius, self.center + self.radius], -1)

    def iou(self, other: 'Boxes3D') -> Tensor:
        """Element-wise intersection over union, ``[...]``."""
        a, b = self.corners(), other.corners()
        overlap = torch.minimum(a[..., 3:], b[..., 3:]) - torch.maximum(a[..., :3], b[..., :3])
        shared = overlap.clamp(min=0).prod(-1)
        volumes = (2 * self.radius).prod(-1) + (2 * other.radius).prod(-1)
        return shared / (volumes - shared).clamp(min=1e-6)

    def to(self, *args: Any, **kwargs: Any) -> 'Boxes3D':
        """As :meth:`torch.Tensor.to`."""
        return Boxes3D(self.tensor.to(*args, **kwargs))

    def __getitem__(self, index: Any) -> 'Boxes3D':
        return Boxes3D(self.tensor[index])

    def __len__(self) -> int:
        return len(self.tensor)
