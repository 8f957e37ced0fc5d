"""What a source folder in the TotalSegmentator layout holds: subjects, anatomies, splits."""

import hashlib
from pathlib import Path

from massm.cohort.manifest import SPLITS
from massm.errors import DatasetError
from massm.io.tables import read_table

# Of the subjects without a table, each for validation and for testing.
HELD_SHARE = 0.15


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
    """The split of each id: from ``meta.csv`` where there is one, else about 70 % train, 15 % val,
    15 % test by a hash of ``seed`` and the id, so that no subject moves when others come or go.

    Raises:
        DatasetError: ``meta.csv`` cannot be read, lacks a column or a subject, or names another
            split or two for one subject.
    """
    meta = source / 'meta.csv'
    if not meta.is_file():
        splits = {subject: _split_by_hash(subject, seed) for subject in ids}
        # So few subjects that chance left none to learn from: all are.
        return splits if 'train' in splits.values() else dict.fromkeys(ids, 'train')
    rows = read_table(meta, DatasetError)
    if not {'image_id', 'split'} <= set(rows[0]):
        raise DatasetError(
            f'{meta}: needs the columns image_id and split; it has {", ".join(rows[0])}'
        )
    splits = {}
    for row in rows:
        if splits.setdefault(row['image_id'], row['split']) != row['split']:
            raise DatasetError(
                f'{meta}: subject {row["image_id"]} is in {splits[row["image_id"]]} and in '
                f'{row["split"]}; keep one row'
            )
    for subject in ids:
        if splits.get(subject) not in SPLITS:
            raise DatasetError(
                f'{meta}: subject {subject} has split {splits.get(subject)!r}; use one of '
                f'{", ".join(SPLITS)}'
            )
    return splits


def _split_by_hash(subject: str, seed: int) -> str:
    digest = hashlib.sha256(f'{seed}:{subject}'.encode()).digest()
    place = int.from_bytes(digest[:8], 'big') / 2**64
    if place < HELD_SHARE:
        return 'test'
    return 'val' if place < 2 * HELD_SHARE else 'train'
