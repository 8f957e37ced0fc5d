"""One look at every subject before the first step, so that none can stop a training that runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from joblib import Parallel, delayed
from mmengine.registry import DefaultScope

from massm.datasets.shape_dataset import ShapeDataset
from massm.datasets.transforms.load import particles_in_volume
from massm.errors import DatasetError, ImageError, MassmError
from massm.io.nifti import map_volume, read_mask
from massm.io.particles import read_particles
from massm.registry import DATASETS
from massm.structures import Grid

SHOWN = 20


def check_subjects(datasets: Sequence[Any]) -> None:
    """Reads what a training or a test will read of every subject.

    Args:
        datasets: configs of datasets; one that builds no :class:`ShapeDataset` checks itself.

    Raises:
        DatasetError: names every subject that cannot be used, and why.
    """
    with DefaultScope.overwrite_default_scope('massm'):
        built = [DATASETS.build(config) for config in datasets]
    records = [
        dataset.get_data_info(n)
        for dataset in built
        if isinstance(dataset, ShapeDataset)
        for n in range(len(dataset))
    ]
    found = Parallel(n_jobs=-1, prefer='threads')(delayed(problem)(record) for record in records)
    wrong = [f'{r["id"]}: {text}' for r, text in zip(records, found, strict=True) if text]
    if wrong:
        more = [f'and {len(wrong) - SHOWN} more'] if len(wrong) > SHOWN else []
        raise DatasetError(
            f'{len(wrong)} of {len(records)} subjects cannot be used; mend them, or take them out '
            'of the source, and prepare again. ' + '; '.join(wrong[:SHOWN] + more)
        )


def problem(record: dict) -> str | None:
    """What is wrong with one subject's files, if anything.

    Args:
        record: as :meth:`ShapeDataset.get_data_info` gives it.
    """
    try:
        grid = Grid(map_volume(record['image']).shape, nibabel.load(record['image']).affine)
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
