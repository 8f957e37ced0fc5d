"""Turn, scale, move and bend the patient: volume and particles together."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmcv.transforms import BaseTransform
from scipy.ndimage import zoom
from scipy.spatial.transform import Rotation

from massm.datasets.transforms.visibility import place_particles
from massm.ops import sample_volume
from massm.registry import TRANSFORMS


@dataclass(frozen=True, eq=False)
class Warp:
    """out -> in: ``center + linear (x - center) + shift + bend(x)``, all voxels.

    ``bend`` ``[3, A, B, D]`` is a smooth field over the volume's corners.
    """

    center: np.ndarray
    linear: np.ndarray
    shift: np.ndarray
    bend: torch.Tensor
    shape: tuple[int, int, int]

    def bend_at(self, points: torch.Tensor) -> torch.Tensor:
        """``[N, 3]`` displacement at ``[N, 3]`` output voxels."""
        span = torch.tensor(self.shape) - 1
        knots = torch.tensor(self.bend.shape[1:]) - 1
        where = points / span.clamp(min=1) * knots
        return sample_volume(self.bend[None], where[None, :, None, None])[0, :, :, 0, 0].T

    def backward(self, points: torch.Tensor) -> torch.Tensor:
        """Output voxels ``[N, 3]`` to the input voxels they show."""
        return self._affine(points) + self.bend_at(points)

    def backward_grid(self) -> torch.Tensor:
        """:meth:`backward` of every output voxel at once: ``[X, Y, Z, 3]``."""
        axes = [torch.arange(n, dtype=torch.float32) for n in self.shape]
        moved = self._affine(torch.stack(torch.meshgrid(*axes, indexing='ij'), -1))
        bend = F.interpolate(self.bend[None], self.shape, mode='trilinear', align_corners=True)
        return moved + bend[0].permute(1, 2, 3, 0)

    def _affine(self, points: torch.Tensor) -> torch.Tensor:
        linear, center, shift = (
            torch.as_tensor(part, dtype=points.dtype)
            for part in (self.linear, self.center, self.shift)
        )
        return (points - center) @ linear.T + center + shift

    def forward(self, points: torch.Tensor, steps: int = 20) -> torch.Tensor:
        """Input voxels ``[N, 3]`` to where they appear: the inverse, by fixed-point iteration."""
        inverse = torch.as_tensor(np.linalg.inv(self.linear), dtype=points.dtype)
        moved = points
        for _ in range(steps):
            moved = moved + (points - self.backward(moved)) @ inverse.T
        return moved


def warp_sample(results: dict[str, Any], warp: Warp) -> dict[str, Any]:
    """Shows the volume, and masks where there are any, through ``warp`` and moves the particles
    with it."""
    volume = torch.as_tensor(results['volume'])
    source = warp.backward_grid()[None]
    results['volume'] = sample_volume(volume[None, None], source)[0, 0].numpy()
    if 'masks' in results:
        # Shares, not a threshold: of what is thin, none would be left.
        masks = torch.as_tensor(results['masks'], dtype=torch.float32)
        inside = sample_volume(masks[None], source, padding_mode='zeros')[0]
        results['masks'] = inside.half().numpy()
    local = torch.as_tensor(results['local_vox'])
    place_particles(results, warp.forward(local.reshape(-1, 3)).view(local.shape).numpy())
    return results


@TRANSFORMS.register_module()
class RandomWarp(BaseTransform):
    """Random rotation, isotropic scale, translation and smooth bending.

    Args:
        rotation: standard deviation about each axis, degrees.
        scale: standard deviation of the log of the scale.
        translation: standard deviation per axis, voxels.
        bend: standard deviation of the control points' displacement, voxels.
        bend_spacing: distance between control points, voxels.
        prob: how often it acts.
    """

    def __init__(
        self,
        rotation: float = 6.0,
        scale: float = 0.06,
        translation: float = 3.0,
        bend: float = 1.0,
        bend_spacing: float = 16.0,
        prob: float = 0.9,
    ) -> None:
        self.rotation, self.scale, self.translation = rotation, scale, translation
        self.bend, self.bend_spacing, self.prob = bend, bend_spacing, prob

    def sample(self, rng: np.random.Generator, shape: tuple[int, int, int]) -> Warp:
        """Draws the parameters for a volume of ``shape``."""
        turn = Rotation.from_euler('xyz', self.rotation * rng.standard_normal(3), degrees=True)
        size = float(np.exp(self.scale * np.clip(rng.standard_normal(), -2, 2)))
        knots = [max(4, int(np.ceil(n / self.bend_spacing)) + 1) for n in shape]
        control = self.bend * np.clip(rng.standard_normal((3, *knots)), -2, 2)
        smooth = np.stack([zoom(c, 3, order=3, mode='nearest', grid_mode=False) for c in control])
        return Warp(
            (np.array(shape) - 1) / 2,
            turn.as_matrix() / size,
            self.translation * rng.standard_normal(3),
            torch.as_tensor(smooth, dtype=torch.float32),
            shape,
        )

    def apply(self, results: dict[str, Any], warp: Warp) -> dict[str, Any]:
        """:func:`warp_sample`."""
        return warp_sample(results, warp)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Draws and applies."""
        if results['rng'].random() >= self.prob:
            return results
        return self.apply(results, self.sample(results['rng'], results['volume'].shape))
