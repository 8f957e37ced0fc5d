"""One look at every subject before the first step, so that none can stop a training that runs."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from mmengine.dataset import BaseDataset
from mmengine.dist import all_gather_object, get_rank, get_world_size

from massm.datasets.shape_dataset import ShapeDataset
from massm.datasets.transforms.load import particles_in_volume
from massm.datasets.transforms.random_flip import RandomFlip
from massm.errors import ConfigError, DatasetError, ImageError, MassmError
from massm.io.nifti import read_mask, volume_grid
from massm.io.particles import read_particles
from massm.structures import Grid

SHOWN = 20
# Names of measures that need a mask, and of all that need a shape.
OF_MASKS = ('s2s_mask', 'hd95', 'dice')
OF_SHAPES = (*OF_MASKS, 'local_', 'world_', 's2s_', 'normal_', 'tangential_')


def check_subjects(datasets: Iterable[BaseDataset]) -> None:
    """Reads what a training or a test will read of every subject; where there are several
    processes, each reads its share, and all raise the same.

    Args:
        datasets: one that is no :class:`ShapeDataset` checks itself.

    Raises:
        DatasetError: names every subject that cannot be used, and why; or patients are to be
            mirrored of whom too little is known for that.
        ConfigError: they are to be mirrored, and have anatomies without a mirror image.
    """
    own = [dataset for dataset in datasets if isinstance(dataset, ShapeDataset)]
    for dataset in own:
        check_mirroring(dataset)
    records = [dataset.get_data_info(n) for dataset in own for n in range(len(dataset))]
    found = zip(records, _problems(records), strict=True)
    wrong = [f'{record["id"]}: {text}' for record, text in found if text]
    if wrong:
        more = [f'and {len(wrong) - SHOWN} more'] if len(wrong) > SHOWN else []
        raise DatasetError(
            f'{len(wrong)} of {len(records)} subjects cannot be used; mend them, or take them out '
            'of the source, and prepare again. ' + '; '.join(wrong[:SHOWN] + more)
        )


def check_mirroring(dataset: ShapeDataset) -> None:
    """Refuses a pipeline that mirrors patients who cannot be.

    Raises:
        ConfigError, DatasetError: see :meth:`RandomFlip.check`.
    """
    for step in dataset.pipeline.transforms:
        if isinstance(step, RandomFlip):
            step.check(dataset.metainfo['anatomies'], dataset.mirror_places)


def check_selection(dataset: BaseDataset, measures: Sequence[str]) -> None:
    """Refuses to choose checkpoints by what no validation subject can be measured by.

    Args:
        dataset: of validation.
        measures: that :class:`ShapeMetric` may give; others are not looked at.

    Raises:
        ConfigError: no subject has a shape of the anatomies, or for a measure of surfaces and masks
            no mask of a shape.
    """
    if not isinstance(dataset, ShapeDataset):
        return
    records = [dataset.get_data_info(n) for n in range(len(dataset))]
    shapes = [pair for r in records for pair in zip(r['local'], r['mask'], strict=True) if pair[0]]
    for measure in measures:
        of_masks = measure.startswith(OF_MASKS)
        if any(mask or not of_masks for _, mask in shapes) or not measure.startswith(OF_SHAPES):
            continue
        lacks = 'has a mask of a shape' if of_masks else 'has a shape'
        raise ConfigError(
            f'default_hooks.checkpoint.save_best={measure}: no validation subject {lacks} to '
            'measure it by; choose another measure, or None to keep the last checkpoint'
        )


def _problems(records: list[dict]) -> list[str | None]:
    """What is wrong with each of ``records``, this process's share read by itself."""
    processes = get_world_size()
    own = records[get_rank() :: processes]
    shares = all_gather_object(
        Parallel(n_jobs=-1, prefer='threads')(delayed(problem)(record) for record in own)
    )
    return [shares[i % processes][i // processes] for i in range(len(records))]


def problem(record: dict) -> str | None:
    """What is wrong with one subject's files, if anything.

    Args:
        record: as :meth:`ShapeDataset.get_data_info` gives it.
    """
    try:
        grid = volume_grid(record['image'])
        if not np.allclose(grid.spacing, record['spacing'], rtol=1e-3):
            raise ImageError(
                f'{record["image"]}: voxels of {grid.spacing.round(3)} mm, not of '
                f'{record["spacing"]:g} mm'
            )
        for path in filter(None, record['local']):
            particles_in_volume(path, record['num_particles'], grid)
        for path in filter(None, record['world']):
            read_particles(path, record['num_particles'])
        for path in filter(None, record['mask']):
            _check_mask(path, grid)
    except (MassmError, OSError) as error:
        return str(error)
    return None


def _check_mask(path: Path, grid: Grid) -> None:
    _, own = read_mask(path)
    if not own.is_close(grid):
        raise ImageError(f'{path}: lies on another grid than its image')
