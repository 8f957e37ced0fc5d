"""Which subjects are for training, validation and testing."""

import hashlib
from pathlib import Path

from massm.cohort.manifest import SPLITS
from massm.errors import DatasetError
from massm.io.tables import read_table

# Of the subjects without a table, each for validation and for testing.
HELD_SHARE = 0.15


def read_splits(
    source: Path, ids: list[str], seed: int, known: dict[str, str] | None = None
) -> dict[str, str]:
    """The split of each id: from ``meta.csv`` where there is one, else as ``known``, else about
    70 % train, 15 % val, 15 % test by a hash of ``seed`` and the id, so that no subject moves when
    others come or go. Where subjects for testing are known, the rest is not tested on.

    Raises:
        DatasetError: ``meta.csv`` cannot be read, lacks a column or a subject, or names another
            split or two for one subject.
    """
    meta = source / 'meta.csv'
    if not meta.is_file():
        splits = {subject: _split_by_hash(subject, seed) for subject in ids}
        if known:
            splits = {i: 'train' if s == 'test' else s for i, s in splits.items()} | known
        # So few subjects that chance left none to learn from: all are.
        return splits if 'train' in splits.values() else dict.fromkeys(ids, 'train') | (known or {})
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
