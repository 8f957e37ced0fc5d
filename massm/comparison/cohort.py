"""The cohort of a comparison: which patients choose a method's checkpoint, which make the table."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from massm.cohort.correspondences import check_built
from massm.cohort.manifest import load_manifest
from massm.errors import ConfigError, DatasetError
from massm.io.templates import read_template_folder, read_templates, shape_model_digest

SELECT = 13
LEAST_TABLE = 2


@dataclass(frozen=True)
class ComparedCohort:
    """A dataset as all methods take it: ``select`` are the places of those validation patients
    that choose a checkpoint, ``table`` the places of those of ``table_split`` that are measured.
    ``shape_model`` tells its correspondences from others."""

    root: str
    anatomies: tuple[str, ...]
    num_particles: int
    spacing: float
    select: tuple[int, ...]
    table_split: str
    table: tuple[int, ...]
    shape_model: str

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


def read_compared(
    root: Path, anatomies: Sequence[str] | None = None, select: int | None = None
) -> ComparedCohort:
    """Splits a dataset with correspondences.

    Args:
        anatomies: by default all that have shapes.
        select: so many validation patients, drawn by chance (always the same ones), choose
            checkpoints, and the table is of the rest. By default all of them choose where there is
            a test split, which is then the table, else 13.

    Raises:
        DatasetError: there is no such dataset, or its splits do not suffice.
        ConfigError: ``select`` leaves nobody for one of the two.
    """
    root = Path(root).resolve()
    manifest = load_manifest(root)
    names = manifest.with_shapes(anatomies)
    check_built(root, names)
    counts = {split: len(manifest.of_split(split)) for split in ('train', 'val', 'test')}
    if not counts['train'] or not counts['val']:
        raise DatasetError(
            f'{root / "dataset.json"}: a comparison needs training and validation patients, has '
            f'{counts["train"]} and {counts["val"]}; assign some in meta.csv and prepare again'
        )
    if select is None and counts['test'] >= LEAST_TABLE:
        split, chosen, table = 'test', range(counts['val']), range(counts['test'])
    else:
        split = 'val'
        chosen, table = _drawn(counts['val'], SELECT if select is None else select)
    particles = len(read_template_folder(root / 'shapes' / names[0], names[0]).local)
    return ComparedCohort(
        str(root),
        tuple(names),
        particles,
        manifest.spacing,
        tuple(chosen),
        split,
        tuple(table),
        shape_model_digest(read_templates(root, names, particles)),
    )


def _drawn(count: int, select: int) -> tuple[list[int], list[int]]:
    if not 1 <= select <= count - LEAST_TABLE:
        raise ConfigError(
            f'--select {select}: of {count} validation patients at least 1 must choose and '
            f'{LEAST_TABLE} be left for the table; give another number'
        )
    order = np.random.default_rng(0).permutation(count).tolist()
    return sorted(order[:select]), sorted(order[select:])
