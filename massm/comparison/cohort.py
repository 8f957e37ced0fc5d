"""The cohort of a comparison: which patients choose a method's checkpoint, which make the table."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from massm.cohort.correspondences import check_built
from massm.cohort.manifest import Manifest, SubjectEntry, load_manifest
from massm.errors import ConfigError, DatasetError
from massm.io.records import fingerprint
from massm.io.templates import read_template_folder, read_templates, shape_model_digest
from massm.structures.modality import DEFAULT_MODALITY

SELECT = 13
LEAST_TABLE = 2


@dataclass(frozen=True)
class ComparedCohort:
    """A dataset as all methods take it: ``select`` are the places of those validation patients
    that choose a checkpoint, ``table`` the places of those of ``table_split`` that are measured.
    ``shape_model`` tells its correspondences from others, ``patients`` who trains, who chooses and
    who is measured, and what is known of each."""

    root: str
    anatomies: tuple[str, ...]
    num_particles: int
    spacing: float
    select: tuple[int, ...]
    table_split: str
    table: tuple[int, ...]
    shape_model: str
    patients: str

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
        DatasetError: there is no such dataset, it is not of CT, its splits do not suffice, or no
            patient of the table has shapes of an anatomy.
        ConfigError: ``select`` leaves nobody for one of the two.
    """
    root = Path(root).resolve()
    manifest = load_manifest(root)
    if manifest.modality != DEFAULT_MODALITY:
        raise DatasetError(
            f'{root}: is of {manifest.modality}; the methods that are compared are set up for CT'
        )
    names = manifest.with_shapes(anatomies)
    check_built(root, names)
    split, chosen, table = _split(manifest, names, select)
    measured = [manifest.of_split(split)[i] for i in table]
    _check_measured(measured, names, split)
    groups = (manifest.of_split('train'), [manifest.of_split('val')[i] for i in chosen], measured)
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
        _digest(groups, names),
    )


def _split(
    manifest: Manifest, names: Sequence[str], select: int | None
) -> tuple[str, list[int], list[int]]:
    """The table's split, and the places of those who choose and of those who are measured."""
    counts = {split: len(manifest.of_split(split)) for split in ('train', 'val', 'test')}
    if not counts['train'] or not counts['val']:
        raise DatasetError(
            f'{manifest.root / "dataset.json"}: a comparison needs training and validation '
            f'patients, has {counts["train"]} and {counts["val"]}; assign some in meta.csv and '
            'prepare again'
        )
    shown = sum(any(_has(s, n) for n in names) for s in manifest.of_split('test'))
    if select is None and shown >= LEAST_TABLE:
        return 'test', list(range(counts['val'])), list(range(counts['test']))
    return 'val', *_drawn(counts['val'], SELECT if select is None else select)


def _has(subject: SubjectEntry, name: str) -> bool:
    return name in subject.anatomies and subject.anatomies[name].has_particles


def _check_measured(subjects: Sequence[SubjectEntry], names: Sequence[str], split: str) -> None:
    without = [name for name in names if not any(_has(subject, name) for subject in subjects)]
    if without:
        raise DatasetError(
            f'{split}: none of the {len(subjects)} patients who would make the tables has a whole '
            f'{without[0]} with particles; leave it out of --anatomies, or give another --select'
        )


def _digest(groups: Sequence[Sequence[SubjectEntry]], names: Sequence[str]) -> str:
    """Of who trains, chooses and is measured, and of what each is known to have."""
    known = [
        [[s.id, *(s.anatomies[n].status.value for n in names if n in s.anatomies)] for s in group]
        for group in groups
    ]
    return fingerprint(known)


def _drawn(count: int, select: int) -> tuple[list[int], list[int]]:
    if not 1 <= select <= count - LEAST_TABLE:
        raise ConfigError(
            f'--select {select}: of {count} validation patients at least 1 must choose and '
            f'{LEAST_TABLE} be left for the table; give another number'
        )
    order = np.random.default_rng(0).permutation(count).tolist()
    return sorted(order[:select]), sorted(order[select:])
