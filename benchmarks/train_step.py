"""A training step on volumes of mixed sizes: ours against batch 1 on a fixed canvas with a loop
over anatomies; volumes per second.

Examples:
  python benchmarks/train_step.py
  python benchmarks/train_step.py --config configs/massm_r101_totalseg.py --device cuda --amp

Both sides train the same network on the same random volumes, forward, backward and optimiser. The
peer pads every volume to one canvas (the smallest that holds all, or --canvas), takes them one by
one, crops and pools box by box and runs the local head anatomy by anatomy. Data loading is left
out on both sides.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from mmengine.registry import init_default_scope
from rich.console import Console
from rich.table import Table
from roi_pool3d import per_box
from torch import Tensor, nn

from massm.apis.config import load_config
from massm.datasets.samplers import alike_in_turn
from massm.models import MASSM
from massm.registry import MODELS
from massm.structures import Boxes3D
from massm.structures.shape_sample import ShapeSample

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Prints a row for each way of training."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--config', default=str(ROOT / 'configs/massm_r18_paper.py'))
    parser.add_argument('--device', default='cpu', choices=['cpu', 'cuda'])
    parser.add_argument('--volumes', type=int, default=40)
    parser.add_argument('--size', type=int, nargs=3, help='one size instead of mixed ones')
    parser.add_argument('--canvas', type=int, nargs=3, help='of the peer')
    parser.add_argument('--batch', type=int, default=2)
    parser.add_argument('--repeat', type=int, default=1, help='passes over the volumes')
    parser.add_argument('--amp', action='store_true', help='bfloat16 autocast, both sides')
    parser.add_argument('--channels-last', action='store_true')
    parser.add_argument('--compile', action='store_true')
    parser.add_argument('--recompute', action='store_true', help='activation checkpointing, ours')
    args = parser.parse_args()
    init_default_scope('massm')
    config = load_config(args.config)
    sizes = np.array([args.size] * args.volumes) if args.size else mixed_sizes(args.volumes)
    canvas = args.canvas or (-(-sizes.max(0) // 32) * 32).tolist()
    samples = [sample(config, size, n) for n, size in enumerate(sizes)]
    order = alike_in_turn(range(len(sizes)), sizes, torch.Generator().manual_seed(0))
    batches = [order[i : i + args.batch] for i in range(0, len(order), args.batch)]
    model = build(config, args)
    model.backbone.with_checkpoint = args.recompute
    model.optimise(args.channels_last, args.compile)
    ours = measure(model, [[samples[i] for i in b] for b in batches], args)
    peer = build(config, args)
    peer.roi_extractor = LoopExtractor(peer.roi_extractor)
    peer.local_head = LoopHead(peer.local_head)
    on_canvas = [[(nn.functional.pad(v, far(v, canvas), value=-1024.0), s)] for v, s in samples]
    theirs = measure(peer, on_canvas, args)
    report(args, sizes, batches, canvas, ours, theirs)


def mixed_sizes(count: int) -> np.ndarray:
    """``[N, 3]`` voxels, of heads, trunks and long scans at 3 mm."""
    rng = np.random.default_rng(0)
    width = np.exp(rng.normal(np.log(105), 0.2, count))
    depth = width * rng.uniform(0.75, 1, count)
    height = np.exp(rng.normal(np.log(100), 0.4, count))
    return np.stack([width, depth, height], 1).clip(40, 256).astype(int)


def sample(config, size: np.ndarray, seed: int) -> tuple[Tensor, ShapeSample]:
    """A random volume whose anatomies lie somewhere in it."""
    generator = torch.Generator().manual_seed(seed)
    count, points = len(config.anatomies), config.num_particles
    volume = 300 * torch.randn(1, *size.tolist(), generator=generator)
    center = torch.tensor(size) * (0.3 + 0.4 * torch.rand(count, 1, 3, generator=generator))
    local = center + 5 * torch.randn(count, points, 3, generator=generator)
    truth = ShapeSample(metainfo={'image_shape': tuple(size.tolist())})
    truth.local_vox, truth.boxes = local, Boxes3D.from_points(local).tensor
    truth.world_mm = (local - center) * config.spacing
    truth.has_shape = truth.has_box = truth.counted = torch.ones(count, dtype=torch.bool)
    truth.is_cut = torch.zeros(count, dtype=torch.bool)
    truth.forcing_draw = torch.zeros(1)
    return volume, truth


def build(config, args: argparse.Namespace) -> MASSM:
    """The config's network with random templates, every loss counting."""
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    model.templates.local_vox.normal_(std=5)
    model.templates.world_mm.normal_(std=15)
    model.loss_weights = dict.fromkeys(model.loss_weights, 1.0)
    return model.to(args.device).train()


class LoopExtractor(nn.Module):
    """The peer's ROI pooling: a loop over samples, anatomies and levels."""

    def __init__(self, own: nn.Module) -> None:
        super().__init__()
        self.mode, self.margin = own.mode, own.margin

    def forward(self, pyramid: list[Tensor], boxes: Tensor) -> Tensor:
        """As ``MultiLevelROIPool3D``."""
        rows = []
        for b in range(boxes.shape[0]):
            for k in range(boxes.shape[1]):
                center, radius = boxes[b, k, :3], boxes[b, k, 3:] * (1 + self.margin)
                index = torch.full((1,), float(b), device=boxes.device)
                roi = torch.cat([index, center - radius, center + radius]).detach()
                one_hot = torch.zeros(boxes.shape[1], device=boxes.device)
                one_hot[k] = 1
                row = per_box(pyramid, roi[None], self.mode)[0]
                rows.append(torch.cat([row, one_hot.to(row)]))
        return torch.stack(rows).view(*boxes.shape[:2], -1)


class LoopHead(nn.Module):
    """The peer's local head: one anatomy at a time."""

    def __init__(self, own: nn.Module) -> None:
        super().__init__()
        self.own, self.loss = own, own.loss

    def forward(self, features: Tensor, boxes: Tensor, template: Tensor) -> Tensor:
        """As ``LocalPDMHead``."""
        one = [
            self.own(features[:, k : k + 1], boxes[:, k : k + 1], template[k : k + 1])
            for k in range(boxes.shape[1])
        ]
        return torch.cat(one, 1)


def far(volume: Tensor, canvas: list[int]) -> list[int]:
    """Padding at the far ends that fills ``canvas``."""
    missing = [wanted - have for wanted, have in zip(canvas, volume.shape[1:], strict=True)]
    return [n for axis in reversed(missing) for n in (0, axis)]


def measure(model: MASSM, batches: list[list], args: argparse.Namespace) -> tuple[float, float]:
    """Volumes per second and, on a GPU, peak GiB, after one pass to warm up."""
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-5, fused=True)
    run_pass(model, optimiser, batches[:1] if args.device == 'cpu' else batches, args)
    wait: Callable[[], None] = torch.cuda.synchronize if args.device == 'cuda' else lambda: None
    if args.device == 'cuda':
        torch.cuda.reset_peak_memory_stats()
    wait()
    start = time.perf_counter()
    for _ in range(args.repeat):
        run_pass(model, optimiser, batches, args)
    wait()
    rate = args.repeat * sum(map(len, batches)) / (time.perf_counter() - start)
    return rate, torch.cuda.max_memory_allocated() / 2**30 if args.device == 'cuda' else 0.0


def run_pass(model: MASSM, optimiser, batches: list[list], args: argparse.Namespace) -> None:
    """A step for each batch."""
    for batch in batches:
        data = {'inputs': [v for v, _ in batch], 'data_samples': [s for _, s in batch]}
        data = model.data_preprocessor(data, True)
        with torch.autocast(args.device, torch.bfloat16, enabled=args.amp):
            losses = model.loss(data['inputs'], data['data_samples'])
        optimiser.zero_grad()
        sum(v for name, v in losses.items() if name.startswith('loss_')).backward()
        optimiser.step()


def report(args, sizes, batches, canvas, ours, theirs) -> None:
    """The table; ratios last."""
    padded = sum(len(b) * (-(-sizes[b].max(0) // 4) * 4).prod() for b in batches)
    volume = sizes.prod(1).sum()
    table = Table(
        '', 'volumes/s', 'padding %', 'peak GiB', title=f'{args.device}, {Path(args.config).stem}'
    )
    whole = np.prod(canvas) * len(sizes)
    for label, used, (rate, peak) in (('ours', padded, ours), ('peer', whole, theirs)):
        memory = f'{peak:.2f}' if peak else '-'
        table.add_row(label, f'{rate:.2f}', f'{100 * (1 - volume / used):.1f}', memory)
    Console(width=100).print(table)
    print(f'canvas {canvas}; ours / peer: {ours[0] / theirs[0]:.1f}')


if __name__ == '__main__':
    main()
