"""ROIPool3D in torch: the definition that the compiled kernels are tested against.

One gather for all boxes of a batch, no loop over them.
"""

import torch
from torch import Tensor

from massm.ops.cells import voxel_to_cell

Size3 = tuple[int, int, int]


def roi_pool3d_reference(
    input: Tensor, rois: Tensor, size: Size3, spatial_scale: float, mode: str
) -> Tensor:
    """See :func:`massm.ops.roi_pool3d`, whose arguments were checked there."""
    finite = rois.isfinite().all(1)
    boxes = torch.where(finite[:, None], rois, torch.zeros_like(rois)).float()
    batch = boxes[:, 0].long()
    low = voxel_to_cell(boxes[:, 1:4], 1 / spatial_scale)
    high = voxel_to_cell(boxes[:, 4:7], 1 / spatial_scale)
    pool = _max_pool if mode == 'max' else _align_pool
    pooled = pool(input, batch, low, high, size)
    return torch.where(finite.view(-1, 1, 1, 1, 1), pooled, torch.zeros_like(pooled))


def _max_pool(input: Tensor, batch: Tensor, low: Tensor, high: Tensor, size: Size3) -> Tensor:
    index = [
        _bin_cells(low[:, axis], high[:, axis], size[axis], input.shape[2 + axis])
        for axis in range(3)
    ]
    x, y, z = index[0], index[1], index[2]
    # [K, Ox, Lx, Oy, Ly, Oz, Lz, C]: repeated cells at a bin's end do not change its maximum.
    cells = input.permute(0, 2, 3, 4, 1)[
        batch.view(-1, 1, 1, 1, 1, 1, 1),
        x[:, :, :, None, None, None, None],
        y[:, None, None, :, :, None, None],
        z[:, None, None, None, None, :, :],
    ]
    pooled = cells.amax((2, 4, 6))
    return pooled.permute(0, 4, 1, 2, 3)


def _bin_cells(low: Tensor, high: Tensor, bins: int, length: int) -> Tensor:
    """``[K, bins, L]`` indices of the cells each bin touches along one axis, the last repeated."""
    first = low.round().long().clamp(0, length - 1)
    last = torch.maximum(high.round().long().clamp(0, length - 1), first)
    extent = (last - first + 1)[:, None]
    steps = torch.arange(bins + 1, device=low.device)
    start = first[:, None] + torch.div(steps[:-1] * extent, bins, rounding_mode='floor')
    stop = first[:, None] - torch.div(-steps[1:] * extent, bins, rounding_mode='floor')
    longest = -(-length // bins) + 1
    cells = start[..., None] + torch.arange(longest, device=low.device)
    return torch.minimum(cells, stop[..., None] - 1)


def _align_pool(input: Tensor, batch: Tensor, low: Tensor, high: Tensor, size: Size3) -> Tensor:
    position = [
        low[:, axis : axis + 1]
        + (high - low)[:, axis : axis + 1]
        * (torch.arange(size[axis], device=low.device, dtype=low.dtype) + 0.5)
        / size[axis]
        for axis in range(3)
    ]
    cells, weights = zip(
        *(_linear_cells(p, input.shape[2 + axis]) for axis, p in enumerate(position)),
        strict=True,
    )
    channels_last = input.permute(0, 2, 3, 4, 1)
    index = batch.view(-1, 1, 1, 1)
    total = None
    for i in range(2):
        for j in range(2):
            for k in range(2):
                value = channels_last[
                    index,
                    cells[0][i][:, :, None, None],
                    cells[1][j][:, None, :, None],
                    cells[2][k][:, None, None, :],
                ]
                weight = (
                    weights[0][i][:, :, None, None]
                    * weights[1][j][:, None, :, None]
                    * weights[2][k][:, None, None, :]
                )
                term = value * weight.unsqueeze(-1)
                total = term if total is None else total + term
    assert total is not None
    return total.to(input.dtype).permute(0, 4, 1, 2, 3)


def _linear_cells(
    position: Tensor, length: int
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The two cells around each position along one axis, and their weights."""
    inside = position.clamp(0, length - 1)
    lower = inside.floor().clamp(max=max(length - 2, 0))
    fraction = inside - lower
    upper = (lower.long() + 1).clamp(max=length - 1)
    return (lower.long(), upper), (1 - fraction, fraction)
