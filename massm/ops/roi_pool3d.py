"""ROIPool3D: features of boxes as tensors of one size.

One public function over three implementations: compiled kernels for CPU and CUDA
(:mod:`massm.ops.extension`), or the torch reference where they could not be built.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from massm.ops.extension import constant_in_graphs, is_compiled
from massm.ops.roi_pool3d_reference import Size3, roi_pool3d_reference

_TRACEABLE = ContextVar('traceable', default=False)


@contextmanager
def traceable_roi_pool3d() -> Iterator[None]:
    """Inside, ROI pooling is plain tensor operations, which any exporter knows."""
    token = _TRACEABLE.set(True)
    try:
        yield
    finally:
        _TRACEABLE.reset(token)


@constant_in_graphs
def _wants_traceable() -> bool:
    return _TRACEABLE.get()


def roi_pool3d(
    input: Tensor,
    rois: Tensor,
    output_size: int | Size3,
    spatial_scale: float = 1.0,
    mode: str = 'max',
) -> Tensor:
    """Pools each box of a feature map to ``output_size`` bins (Girshick 2015 in 3D).

    A voxel v of the input volume lies at ``v * spatial_scale`` in the feature map (``ops.cells``).

    Args:
        input: ``[N, C, X, Y, Z]`` feature map; contiguous or channels-last.
        rois: ``[K, 7]``: batch index, low corner (x, y, z), high corner (x, y, z); voxels of the
            input volume. No gradient flows to them.
        output_size: bins per axis.
        spatial_scale: feature cells per voxel, 1 / stride.
        mode: ``max``: the maximum over the cells that each bin touches; the gradient goes to the
            cell it came from. ``align``: the trilinear value at the middle of each bin (He et al.
            2017 with one sample a bin).

    Returns:
        ``[K, C, *output_size]``. Boxes partly outside use the nearest cells of the map; a box
        with a coordinate that is not finite gives zeros.

    Raises:
        ValueError: a shape or the mode is wrong.
        IndexError: a box names a sample that is not in the batch (on CUDA: a device assertion).
    """
    size: Size3 = (output_size,) * 3 if isinstance(output_size, int) else output_size
    rows = _pool([input], rois, [size], [float(spatial_scale)], mode)
    return rows.view(rois.shape[0], input.shape[1], *size)


def multi_level_roi_pool3d(
    inputs: list[Tensor],
    rois: Tensor,
    output_sizes: list[int],
    strides: list[int],
    mode: str = 'max',
) -> Tensor:
    """Pools each box from every pyramid level in one call.

    Args:
        inputs: feature maps ``[N, C, X/s, Y/s, Z/s]``, one per stride s.
        rois: ``[K, 7]``, as :func:`roi_pool3d`.
        output_sizes: bins per axis, one per level.
        strides: voxels per cell, one per level.

    Returns:
        ``[K, C * sum(size³)]``: the levels' bins flattened and joined.
    """
    if not len(inputs) == len(output_sizes) == len(strides):
        raise ValueError(
            f'{len(inputs)} feature maps, {len(output_sizes)} sizes and {len(strides)} strides; '
            'one of each a level'
        )
    sizes = [(size,) * 3 for size in output_sizes]
    return _pool(inputs, rois, sizes, [1 / stride for stride in strides], mode)


def _pool(
    inputs: list[Tensor], rois: Tensor, sizes: list[Size3], scales: list[float], mode: str
) -> Tensor:
    """``[K, row]``: every level's channels and bins, flattened and joined."""
    if any(level.dim() != 5 for level in inputs) or rois.dim() != 2 or rois.shape[1] != 7:
        raise ValueError(
            f'roi_pool3d needs [N, C, X, Y, Z] and [K, 7], got {tuple(inputs[0].shape)} and '
            f'{tuple(rois.shape)}'
        )
    if mode not in ('max', 'align'):
        raise ValueError(f"mode must be 'max' or 'align', got {mode!r}")
    rois = rois.detach()
    if not _wants_traceable() and is_compiled(inputs[0].device.type):
        flat_sizes = [n for size in sizes for n in size]
        if mode == 'max':
            return torch.ops.massm.roi_pool3d_max(inputs, rois, flat_sizes, scales)[0]
        return torch.ops.massm.roi_pool3d_align(inputs, rois, flat_sizes, scales)
    _check_batch(rois, inputs[0].shape[0])
    pooled = [
        roi_pool3d_reference(level, rois, size, scale, mode).flatten(1)
        for level, size, scale in zip(inputs, sizes, scales, strict=True)
    ]
    return torch.cat(pooled, 1)


def _check_batch(rois: Tensor, batch: int) -> None:
    """Only where looking costs no wait for a GPU."""
    unknown = torch.compiler.is_compiling() or _wants_traceable()
    if rois.device.type != 'cpu' or unknown or len(rois) == 0:
        return
    index = rois[rois.isfinite().all(1), 0]
    if len(index) and not 0 <= int(index.min()) <= int(index.max()) < batch:
        raise IndexError(f'roi_pool3d: a box names sample {int(index.max())} of a batch of {batch}')
