"""What a fit says of what the scan cuts of an organ, and of organs beyond the end of the scan.

Example: python benchmarks/truncated_organs.py CONFIG CHECKPOINT --cfg-options data_root=DATASET

Every whole organ of the split is cut by an axial plane, once from above and once from below, so
that a share of its particles is hidden. Errors are root mean squares an axis, mm, as in
local_rmse_mm; the yardstick is the mean shape, laid rigidly onto the true particles that are seen.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import torch
from mmengine.registry import init_default_scope
from rich.console import Console
from rich.table import Table
from torch import Tensor

from massm.apis.config import load_config
from massm.commands.options import add_config_options
from massm.engine.checkpoint import load_checkpoint
from massm.evaluation.scan_parts import LEAST_SLICES, slices_as_scan
from massm.models.massm import MASSM
from massm.registry import DATASETS, MODELS
from massm.shape.alignment import rigid_fit_batched
from massm.structures.shape_sample import ShapeSample

SHARES = (1 / 3, 1 / 2)
COLUMNS = ('hidden', 'mean shape, hidden', 'seen', 'within 1 std', 'within 2 std', 'found')
# Slices that lie between the end of a scan and an organ that is beyond it.
APART = 1


def main() -> None:
    """Prints a row for each anatomy and share."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('--split', default='val')
    parser.add_argument('--skip', type=int, default=0, help='first subjects of the split')
    add_config_options(parser)
    args = parser.parse_args()
    config = load_config(args.config, args.cfg_options)
    init_default_scope('massm')
    model = MODELS.build({**config.model, 'template_root': None})
    model.load_state_dict(load_checkpoint(args.checkpoint)['state_dict'])
    dataset = DATASETS.build({**config.test_dataloader.dataset, 'split': args.split})
    model.eval()
    rows: dict[tuple[str, float], list[list[float]]] = defaultdict(list)
    beyond: dict[str, list[bool]] = defaultdict(list)
    for n in range(args.skip, len(dataset)):
        for name, share, measured in _cut(model, dataset[n]):
            rows[name, share].append(measured)
        for name, found in _beyond(model, dataset[n]):
            beyond[name].append(found)
    table = Table('anatomy', 'hidden share', *COLUMNS, 'cases')
    for (name, share), measured in sorted(rows.items()):
        means = [f'{value:.2f}' for value in np.mean(measured, 0)]
        table.add_row(name, f'{share:.2f}', *means, str(len(measured)))
    Console(width=140).print(table)
    table = Table('anatomy beyond the end of the scan', 'found', 'cases')
    for name, found in sorted(beyond.items()):
        table.add_row(name, str(sum(found)), str(len(found)))
    Console(width=140).print(table)


@torch.no_grad()
def _cut(model: MASSM, item: dict) -> Iterator[tuple[str, float, list[float]]]:
    volume, sample = item['inputs'], item['data_samples']
    for k, name in enumerate(sample.anatomies):
        if not sample.has_shape[k]:
            continue
        for share in SHARES:
            for above in (False, True):
                height = sample.local_vox[k, :, 2]
                plane = float(height.quantile(1 - share if above else share))
                hidden = height > plane if above else height < plane
                first = 0 if above else int(np.ceil(plane))
                last = int(plane) + 1 if above else volume.shape[-1]
                part, begin = slices_as_scan(volume, first, last)
                found = _predict(model, part, sample)
                local = found.pred_local_vox[k] + torch.tensor([0.0, 0.0, begin])
                deviation = found.pred_deviation_mm[k]
                measured = _measure(model, k, local, deviation, sample, hidden)
                yield name, share, [*measured, float(_is_found(found, k))]


@torch.no_grad()
def _beyond(model: MASSM, item: dict) -> Iterator[tuple[str, bool]]:
    volume, sample = item['inputs'], item['data_samples']
    for k, name in enumerate(sample.anatomies):
        if not sample.has_shape[k]:
            continue
        height = sample.local_vox[k, :, 2].numpy()
        last, first = int(height.min()) - APART, int(np.ceil(height.max())) + APART + 1
        for begin, end in ((0, last), (first, volume.shape[-1])):
            if end - begin >= LEAST_SLICES:
                part, _ = slices_as_scan(volume, begin, end)
                yield name, _is_found(_predict(model, part, sample), k)


def _is_found(found: ShapeSample, k: int) -> bool:
    return bool(found.scores[k] >= found.score_thresholds[k])


def _predict(model: MASSM, volume: Tensor, sample: ShapeSample) -> ShapeSample:
    cut = sample.clone()
    cut.set_metainfo({'image_shape': tuple(volume.shape[1:])})
    return model.test_step({'inputs': [volume.contiguous()], 'data_samples': [cut]})[0]


def _measure(
    model: MASSM, k: int, local: Tensor, deviation: Tensor, sample: ShapeSample, hidden: Tensor
) -> list[float]:
    spacing = model.spacing
    truth = sample.local_vox[k].double() * spacing
    mean = model.templates.mean_world_mm[k].double()
    rotation, translation = rigid_fit_batched(mean[~hidden], truth[~hidden])
    laid = mean @ rotation.T + translation
    error = local.double() * spacing - truth
    normals = model.local_head.prior.frames[k, :, 0].double() @ rotation.T
    across = (error * normals).sum(-1).abs()[hidden] / deviation[hidden]
    return [
        _rmse(error[hidden]),
        _rmse((laid - truth)[hidden]),
        _rmse(error[~hidden]),
        float((across < 1).double().mean()),
        float((across < 2).double().mean()),
    ]


def _rmse(error: Tensor) -> float:
    """Root mean square over particles of each axis, mean of the three."""
    return float(error.square().mean(0).sqrt().mean())


if __name__ == '__main__':
    main()
