"""Inference on one CT: seconds from the file to written particles and meshes, and peak memory.

Examples:
  python benchmarks/inference.py CONFIG ct.nii.gz --cfg-options data_root=DATASET
  python benchmarks/inference.py CONFIG 256 224 448 --cfg-options data_root=DATASET

Weights are random unless --checkpoint names some: the time is the same. Three numbers instead of a
file make a volume of so many voxels at the config's spacing. `cold` is the first image of a
process, `warm` the next.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from mmengine.config import DictAction
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from rich.console import Console
from rich.table import Table

from massm.apis.config import load_config
from massm.inference.inferencer import MASSMInferencer
from massm.inference.result_files import write_result
from massm.io.nifti import write_volume
from massm.registry import DATASETS, MODELS
from massm.structures import Grid


def main() -> None:
    """Prints a row for the first image and one for the next."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', type=Path)
    parser.add_argument('image', nargs='+', help='a CT file, or three sizes in voxels')
    parser.add_argument('--checkpoint')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    args = parser.parse_args()
    init_default_scope('massm')
    config = load_config(args.config, args.cfg_options)
    table = Table('', 'load s', 'network s', 'warp s', 'write s', 'total s', 'peak GiB')
    with tempfile.TemporaryDirectory() as folder:
        image = Path(args.image[0])
        if len(args.image) == 3:
            image = _synthetic(Path(folder), [int(n) for n in args.image], config.spacing)
        checkpoint = args.checkpoint or _untrained(Path(folder), config)
        inferencer = MASSMInferencer(config, checkpoint, args.device, score_threshold=0.0)
        for label in ('cold', 'warm'):
            seconds = _stages(inferencer, image, Path(folder) / 'out')
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            cells = [*seconds, sum(seconds), peak]
            table.add_row(label, *(f'{value:.2f}' for value in cells))
    Console(width=100).print(table)


def _stages(inferencer: MASSMInferencer, image: Path, out: Path) -> list[float]:
    """Seconds of loading and resampling, the network, warping, and writing."""
    marks = [time.perf_counter()]
    loaded = inferencer._load(image)
    marks.append(time.perf_counter())
    batch = {'inputs': [loaded['inputs']], 'data_samples': [loaded['data_samples']]}
    samples = inferencer.forward(batch)
    if samples[0].scores.is_cuda:
        torch.cuda.synchronize()
    marks.append(time.perf_counter())
    result = inferencer.postprocess(samples)[0]
    marks.append(time.perf_counter())
    write_result(out, result)
    marks.append(time.perf_counter())
    return np.diff(marks).tolist()


def _synthetic(folder: Path, size: list[int], spacing: float) -> Path:
    volume = np.random.default_rng(0).normal(0, 200, size).astype(np.int16)
    path = folder / 'ct.nii.gz'
    write_volume(path, volume, Grid(tuple(size), np.diag([spacing, spacing, spacing, 1.0])))
    return path


def _untrained(folder: Path, config) -> str:
    """A checkpoint of random weights with the dataset's templates."""
    MMLogger.get_instance('massm', log_level='ERROR')
    model = MODELS.build(config.model)
    model.init_weights()
    path = folder / 'untrained.pth'
    meta = {'dataset_meta': DATASETS.build(config.train_dataloader.dataset).metainfo}
    torch.save({'state_dict': model.state_dict(), 'meta': meta}, path)
    return str(path)


if __name__ == '__main__':
    main()
