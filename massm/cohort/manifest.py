"""``dataset.json``: what a prepared dataset holds."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from massm.errors import DatasetError
from massm.io.atomic import write_text
from massm.io.names import check_name
from massm.structures import AnatomyStatus
from massm.structures.modality import DEFAULT_MODALITY, check_modality

# 2: what nobody annotated is unlabelled, no longer absent.
FORMAT, VERSION = 'massm-dataset', 2
SPLITS = ('train', 'val', 'test')


# How the ids of generated patients begin.
GENERATED = 'generated_'


@dataclass(frozen=True)
class AnatomyEntry:
    """One anatomy of one subject: its status and files (relative to the dataset), and the rigid
    motion ``patient_to_world`` ``[4][4]`` (mm) once correspondences are built."""

    status: AnatomyStatus
    mask: str | None = None
    mesh: str | None = None
    local: str | None = None
    world: str | None = None
    patient_to_world: list[list[float]] | None = None

    @property
    def has_particles(self) -> bool:
        """Whether correspondences were built for it."""
        return self.status.is_whole and self.local is not None

    @property
    def is_shape_alone(self) -> bool:
        """Whether it is a shape without a mask, as an import brings it."""
        return self.mesh is not None and self.mask is None


@dataclass(frozen=True)
class SubjectEntry:
    """One subject: id, split, image path (relative; ``None`` where shapes came without one), its
    anatomies, and of a generated patient the id of the true one that was warped."""

    id: str
    split: str
    image: str | None
    anatomies: dict[str, AnatomyEntry] = field(default_factory=dict)
    generated_from: str | None = None

    @property
    def is_generated(self) -> bool:
        """Whether it is no true patient; datasets of before ``generated_from`` tell by the name."""
        return self.generated_from is not None or self.id.startswith(GENERATED)


@dataclass(frozen=True)
class Manifest:
    """The whole of ``dataset.json``, with the folder it lies in.

    ``open`` names anatomies that have masks but no shapes, since their contours' ends are
    arbitrary. ``modality`` is that of all images.
    """

    root: Path
    spacing: float
    anatomies: tuple[str, ...]
    subjects: tuple[SubjectEntry, ...]
    templates: dict[str, str] = field(default_factory=dict)
    open: tuple[str, ...] = ()
    modality: str = DEFAULT_MODALITY

    def path(self, relative: str) -> Path:
        """An entry's file as an absolute path.

        Raises:
            DatasetError: it lies outside the dataset.
        """
        path = (self.root / relative).resolve()
        if not path.is_relative_to(self.root.resolve()):
            raise DatasetError(
                f'{self.root / "dataset.json"}: path {relative!r} leaves the dataset; only files '
                'below it may be named'
            )
        return path

    def with_shapes(self, anatomies: Sequence[str] | None = None) -> list[str]:
        """``anatomies``, by default all that can have shapes.

        Raises:
            DatasetError: one was not prepared or is open, or all are open.
        """
        path = self.root / 'dataset.json'
        unknown = [name for name in anatomies or () if name not in self.anatomies]
        if unknown:
            raise DatasetError(
                f'{path}: has no {", ".join(unknown)}; it was prepared with '
                f'{", ".join(self.anatomies)}'
            )
        closed = [name for name in self.anatomies if name not in self.open]
        without_ends = [name for name in anatomies or () if name in self.open]
        if without_ends or not closed:
            raise DatasetError(
                f'{path}: {", ".join(without_ends or self.open)} was prepared as open, with masks '
                'but without shapes; leave it out, or prepare again without --open'
            )
        return list(anatomies or closed)

    def of_split(self, split: str) -> list[SubjectEntry]:
        """The subjects of ``split``, in the file's order."""
        return [subject for subject in self.subjects if subject.split == split]

    def with_subjects(self, subjects: list[SubjectEntry]) -> 'Manifest':
        """The same dataset with other subject entries."""
        return replace(self, subjects=tuple(subjects))

    def save(self) -> None:
        """Writes ``dataset.json`` in one step."""
        metainfo = {
            'format': FORMAT,
            'version': VERSION,
            'spacing': self.spacing,
            'anatomies': list(self.anatomies),
            'templates': self.templates,
            'open': list(self.open),
            'modality': self.modality,
        }
        data_list = [subject_to_json(subject) for subject in self.subjects]
        text = json.dumps({'metainfo': metainfo, 'data_list': data_list}, indent=1)
        write_text(self.root / 'dataset.json', text + '\n')


def load_manifest(root: Path) -> Manifest:
    """Reads and checks ``root/dataset.json``.

    Raises:
        DatasetError: missing, not JSON, another format or version, or an entry that breaks it.
    """
    path = Path(root) / 'dataset.json'
    if not path.is_file():
        raise DatasetError(f'{path}: no such file; run tools/prepare_dataset.py first')
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
        metainfo = content['metainfo']
        if metainfo['format'] != FORMAT or metainfo['version'] != VERSION:
            raise DatasetError(
                f'{path}: is {metainfo["format"]} version {metainfo["version"]}, this is for '
                f'{FORMAT} version {VERSION}; prepare the dataset again'
            )
        manifest = Manifest(
            Path(root),
            float(metainfo['spacing']),
            tuple(metainfo['anatomies']),
            tuple(subject_from_json(row) for row in content['data_list']),
            dict(metainfo['templates']),
            tuple(metainfo['open']),
            check_modality(metainfo.get('modality', DEFAULT_MODALITY), str(path)),
        )
    except DatasetError:
        raise
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DatasetError(
            f'{path}: not a MASSM dataset ({type(error).__name__}: {error}); prepare it again'
        ) from error
    _check_paths(manifest)
    return manifest


def _check_paths(manifest: Manifest) -> None:
    where = str(manifest.root / 'dataset.json')
    for name in (*manifest.anatomies, *manifest.templates):
        check_name(name, where, DatasetError)
    for subject in manifest.subjects:
        for name in (subject.id, *subject.anatomies):
            check_name(name, where, DatasetError)
        if subject.image is not None:
            manifest.path(subject.image)
        for entry in subject.anatomies.values():
            for relative in (entry.mask, entry.mesh, entry.local, entry.world):
                if relative is not None:
                    manifest.path(relative)
    for relative in manifest.templates.values():
        manifest.path(relative)


def subject_to_json(subject: SubjectEntry) -> dict[str, Any]:
    """The entry as it stands in ``data_list``."""
    anatomies = {}
    for name, entry in subject.anatomies.items():
        anatomies[name] = {k: v for k, v in vars(entry).items() if v is not None}
        anatomies[name]['status'] = entry.status.value
    row = {**vars(subject), 'anatomies': anatomies}
    return {k: v for k, v in row.items() if k != 'generated_from' or v is not None}


def subject_from_json(row: dict[str, Any]) -> SubjectEntry:
    """The inverse of :func:`subject_to_json`.

    Raises:
        ValueError, KeyError, TypeError: the row breaks the format.
    """
    anatomies = {}
    for name, entry in row['anatomies'].items():
        if 'patient_to_world' in entry and np.shape(entry['patient_to_world']) != (4, 4):
            raise ValueError(f'{row["id"]}/{name}: patient_to_world is not 4x4')
        anatomies[name] = AnatomyEntry(**{**entry, 'status': AnatomyStatus(entry['status'])})
    if row['split'] not in SPLITS:
        raise ValueError(f'{row["id"]}: split {row["split"]!r} is none of {SPLITS}')
    base = row.get('generated_from')
    return SubjectEntry(str(row['id']), row['split'], row['image'], anatomies, base)
