"""What a source folder in the TotalSegmentator layout holds: subjects, anatomies, splits."""

import csv
from pathlib import Path

import numpy as np

from massm.cohort.manifest import SPLITS
from massm.errors import DatasetError


def find_subjects(source: Path) -> list[Path]:
    """The subject folders of ``source``, sorted by name.

    Raises:
        DatasetError: there is none.
    """
    if not source.is_dir():
        raise DatasetError(f'{source}: no such folder; give the folder that holds the subjects')
    folders = sorted(
        p for p in source.iterdir() if (p / 'ct.nii.gz').exists() or (p / 'segmentations').is_dir()
    )
    if not folders:
        raise DatasetError(
            f'{source}: no subject found; expected SUBJECT/ct.nii.gz and '
            'SUBJECT/segmentations/ANATOMY.nii.gz'
        )
    return folders


def check_anatomies(folders: list[Path], anatomies: tuple[str, ...]) -> None:
    """Refuses a name that no subject has a mask of, naming those that exist.

    Raises:
        DatasetError: see above.
    """
    known = {
        p.name.removesuffix('.nii.gz')
        for f in folders
        for p in (f / 'segmentations').glob('*.nii.gz')
    }
    unknown = [name for name in anatomies if name not in known]
    if unknown:
        raise DatasetError(
            f'{folders[0].parent}: no subject has a mask of {", ".join(unknown)}; there are '
            f'{", ".join(sorted(known)[:20])}{" ..." if len(known) > 20 else ""}'
        )


def read_splits(source: Path, ids: list[str], seed: int) -> dict[str, str]:
    """The split of each id: from ``meta.csv`` where there is one, else a seeded shuffle into
    70 % train, 15 % val, 15 % test.

    Raises:
        DatasetError: ``meta.csv`` lacks a column, a subject, or names another split.
    """
    meta = source / 'meta.csv'
    if not meta.is_file():
        order = np.random.default_rng(seed).permutation(len(ids))
        held = round(0.15 * len(ids))
        names = ['test'] * held + ['val'] * held + ['train'] * (len(ids) - 2 * held)
        return {ids[i]: split for i, split in zip(order, names, strict=True)}
    text = meta.read_text(encoding='utf-8-sig')
    rows = list(
        csv.DictReader(text.splitlines(), delimiter=';' if ';' in text.splitlines()[0] else ',')
    )
    if not rows or not {'image_id', 'split'} <= set(rows[0]):
        raise DatasetError(f'{meta}: needs the columns image_id and split')
    splits = {row['image_id']: row['split'] for row in rows}
    for subject in ids:
        if splits.get(subject) not in SPLITS:
            raise DatasetError(
                f'{meta}: subject {subject} has split {splits.get(subject)!r}; use one of '
                f'{", ".join(SPLITS)}'
            )
    return splits
