"""What an image shows around a particle: lines along its normal, through it and beside it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from massm.ops import sample_patterns
from massm.structures.grid import CELL

# Tissues differ by a tenth of a window or two: around zero and this much larger, what they have in
# common does not drown it (benchmarks/accuracy.md).
CONTRAST = 4.0
# One through the particle, four beside it.
LINES = 5


@dataclass(frozen=True)
class Seen:
    """What shapes are fitted to: ``images`` ``[B, C, X, Y, Z]`` in [0, 1], their ``sizes``
    ``[B, 3]`` in voxels before padding, and the ``first`` voxel ``[B, 3]`` that the scan shows; 0
    without."""

    images: Tensor
    sizes: Tensor
    first: Tensor | None = None

    @classmethod
    def of_scan(cls, images: Tensor, sizes: Tensor) -> 'Seen':
        """What lies around the scan is no part of it: padding at the far ends, and planes that hold
        one value alone at the low ends, where a working grid may begin below its scan. Instead of
        them the scan's own ends are repeated, as beyond the ends of an image."""
        first = first_planes(images)
        return cls(ends_repeated(images, first, sizes.to(first) - 1), sizes, first)

    def shows(self, points_vox: Tensor) -> Tensor:
        """``[B, ...]`` bool: which of ``points_vox`` ``[B, ..., 3]`` lie in their scan."""
        one_each = (len(self.sizes), *[1] * (points_vox.dim() - 2), 3)
        shown = (points_vox >= -0.5) & (points_vox <= self.sizes.view(one_each) - 0.5)
        if self.first is not None:
            shown &= points_vox >= self.first.view(one_each) - 0.5
        return shown.all(-1)


def first_planes(images: Tensor) -> Tensor:
    """``[B, 3]``: along each axis, how many planes at the low end hold one value alone. A working
    grid adds less than a cell; where there are more, the scan itself is empty there: 0. (For whole
    files, :func:`massm.cohort.field_of_view.imaged_extent`.)"""
    axes, counts = (2, 3, 4), []
    for axis in axes:
        planes = images.narrow(axis, 0, min(CELL, images.shape[axis]))
        others = tuple(a for a in axes if a != axis)
        empty = (planes.amax(others) == planes.amin(others)).all(1)
        count = empty.long().cumprod(1).sum(1)
        counts.append(torch.where(count < CELL, count, torch.zeros_like(count)))
    return torch.stack(counts, 1)


def ends_repeated(images: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """``images`` whose planes ``first`` and ``last`` ``[B, 3]`` stand for those before and behind
    them, too."""
    images = images.clone()
    for image, lows, highs in zip(images, first.tolist(), last.tolist(), strict=True):
        for axis, (low, high) in enumerate(zip(lows, highs, strict=True), 1):
            behind = image.shape[axis] - 1 - high
            image.narrow(axis, 0, low).copy_(image.narrow(axis, low, 1))
            image.narrow(axis, high + 1, behind).copy_(image.narrow(axis, high, 1))
    return images


@dataclass(frozen=True)
class Around:
    """Where K x N shapes look: ``points`` ``[K, N, M, 3]`` and ``frames`` ``[K, N, M, 3, 3]`` in
    voxels; N is a multiple of the batch, shapes of an image together."""

    points: Tensor
    frames: Tensor


def image_profiles(seen: Seen, around: Around, pattern: Tensor) -> Tensor:
    """``[K, N, M, C * 5 * samples]`` intensities, around zero."""
    where, turned = _by_image(around, len(seen.images))
    found = sample_patterns(seen.images, where.flatten(1, 3), turned.flatten(1, 3), pattern)
    found = CONTRAST * (found.flatten(2).view(*where.shape[:-1], -1) - 0.5)
    return found.transpose(0, 1).flatten(1, 2)


def visible(seen: Seen, around: Around) -> Tensor:
    """``[K, N, M]`` bool: which particles lie in their scan."""
    where, _ = _by_image(around, len(seen.images))
    return seen.shows(where).transpose(0, 1).flatten(1, 2)


def _by_image(around: Around, batch: int) -> tuple[Tensor, Tensor]:
    """``[B, K, N / B, M, ...]``."""
    points, frames = (
        x.unflatten(1, (batch, -1)).transpose(0, 1) for x in (around.points, around.frames)
    )
    return points, frames


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
