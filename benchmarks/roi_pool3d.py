"""ROIPool3D: the compiled op, its torch reference, and a loop over boxes, forward and backward.

Example: python benchmarks/roi_pool3d.py --device cpu

Features of a 128³ volume on four levels (strides 4 to 32), 64 channels, two samples with seven
boxes each, bins 8, 4, 2, 1. The loop crops each box from each level, pads it by its edge where it
leaves the map and pools it with AdaptiveMaxPool3d (max) or grid_sample (align).
"""

import argparse
import time
from collections.abc import Callable
from functools import partial

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional

from massm.ops import extension, multi_level_roi_pool3d
from massm.ops.roi_pool3d_reference import roi_pool3d_reference

STRIDES, BINS = [4, 8, 16, 32], [8, 4, 2, 1]


def main() -> None:
    """Prints milliseconds per forward and backward pass, and ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--device', default='cpu', choices=['cpu', 'cuda'])
    parser.add_argument('--size', type=int, default=128, help='of the volume, voxels')
    parser.add_argument('--channels', type=int, default=64)
    parser.add_argument('--batch', type=int, default=2)
    parser.add_argument('--boxes', type=int, default=7, help='per sample')
    parser.add_argument('--repeat', type=int, default=20)
    args = parser.parse_args()
    assert extension.is_compiled(args.device), 'the op is not compiled for this device'
    table = Table('mode', 'layout', 'ours ms', 'reference ms', 'per box ms', 'reference / ours',
                  'per box / ours', title=f'{args.device}, forward + backward')  # fmt: skip
    rois = boxes(args)
    for mode in ('max', 'align'):
        for layout in (torch.contiguous_format, torch.channels_last_3d):
            maps = [
                torch.randn(args.batch, args.channels, *[args.size // s] * 3, device=args.device)
                .contiguous(memory_format=layout)
                .requires_grad_()
                for s in STRIDES
            ]
            times = [
                milliseconds(partial(step, f, maps, rois, mode), args)
                for f in (multi_level, reference, per_box)
            ]
            table.add_row(
                mode, str(layout).split('.')[-1], *(f'{t:.2f}' for t in times),
                f'{times[1] / times[0]:.1f}', f'{times[2] / times[0]:.1f}',
            )  # fmt: skip
    Console(width=120).print(table)


def boxes(args: argparse.Namespace) -> Tensor:
    """Boxes of a quarter to a half of the volume, some of them partly outside."""
    generator = torch.Generator().manual_seed(0)
    count = args.batch * args.boxes
    extent = args.size * (0.25 + 0.25 * torch.rand(count, 3, generator=generator))
    low = (args.size - 0.9 * extent) * torch.rand(count, 3, generator=generator) - 2
    index = torch.arange(args.batch).repeat_interleave(args.boxes)[:, None]
    return torch.cat([index.float(), low, low + extent], 1).to(args.device)


def multi_level(maps: list[Tensor], rois: Tensor, mode: str) -> Tensor:
    """Ours: every level and box in one call."""
    return multi_level_roi_pool3d(maps, rois, BINS, STRIDES, mode)


def reference(maps: list[Tensor], rois: Tensor, mode: str) -> Tensor:
    """The torch reference, a level at a time."""
    pooled = [
        roi_pool3d_reference(level, rois, (bins,) * 3, 1 / stride, mode).flatten(1)
        for level, bins, stride in zip(maps, BINS, STRIDES, strict=True)
    ]
    return torch.cat(pooled, 1)


def per_box(maps: list[Tensor], rois: Tensor, mode: str) -> Tensor:
    """The peer: a loop over boxes and levels."""
    corners = rois.cpu()
    rows = []
    for roi in corners:
        parts = []
        for level, bins, stride in zip(maps, BINS, STRIDES, strict=True):
            volume = level[int(roi[0])][None]
            pool = _crop_max if mode == 'max' else _crop_align
            parts.append(pool(volume, roi[1:] / stride, bins).flatten())
        rows.append(torch.cat(parts))
    return torch.stack(rows)


def _crop_max(volume: Tensor, box: Tensor, bins: int) -> Tensor:
    low, high = box[:3].round().int().tolist(), (box[3:].round().int() + 1).tolist()
    high = [max(a + 1, b) for a, b in zip(low, high, strict=True)]
    length = volume.shape[2:]
    inside = [
        slice(min(max(a, 0), n - 1), max(min(b, n), min(max(a, 0), n - 1) + 1))
        for a, b, n in zip(low, high, length, strict=True)
    ]
    crop = volume[(slice(None), slice(None), *inside)]
    before = [max(-a, 0) for a in low]
    after = [max(b - n, 0) for b, n in zip(high, length, strict=True)]
    padding = [n for pair in zip(reversed(before), reversed(after), strict=True) for n in pair]
    return functional.adaptive_max_pool3d(functional.pad(crop, padding, mode='replicate'), bins)


def _crop_align(volume: Tensor, box: Tensor, bins: int) -> Tensor:
    length = torch.tensor(volume.shape[2:], dtype=torch.float32)
    middles = (torch.arange(bins) + 0.5) / bins
    axes = [box[i] + (box[3 + i] - box[i]) * middles for i in range(3)]
    points = torch.stack(torch.meshgrid(*axes, indexing='ij'), -1)
    scaled = points / (length - 1).clamp(min=1) * 2 - 1
    grid = scaled.flip(-1)[None].to(volume.device, volume.dtype)
    return functional.grid_sample(volume, grid, padding_mode='border', align_corners=True)


def step(pool: Callable[..., Tensor], maps: list[Tensor], rois: Tensor, mode: str) -> None:
    """One forward and backward pass."""
    for level in maps:
        level.grad = None
    pool(maps, rois, mode).square().sum().backward()


def milliseconds(run: Callable[[], None], args: argparse.Namespace) -> float:
    """Median over the repeats, after two to warm up."""
    times = []
    for _ in range(args.repeat + 2):
        start = time.perf_counter()
        run()
        if args.device == 'cuda':
            torch.cuda.synchronize()
        times.append(1000 * (time.perf_counter() - start))
    return sorted(times[2:])[args.repeat // 2]


if __name__ == '__main__':
    main()
