"""One label map a subject, with a table of its values: ``SUBJECT/ct.nii.gz`` and
``SUBJECT/labels.nii.gz``, or ``images/SUBJECT.nii.gz`` and ``labels/SUBJECT.nii.gz``."""

import re
from collections.abc import Container
from pathlib import Path

from massm.cohort.sources.images import (
    by_name,
    image_files,
    named,
    only,
    subject_folders,
    subject_images,
    told_modality,
    volumes,
)
from massm.cohort.sources.label_map import LabelMap
from massm.cohort.sources.label_table import (
    Table,
    described_table,
    header_table,
    read_label_table,
)
from massm.cohort.sources.request import Request
from massm.cohort.sources.subject import SourceSubject
from massm.errors import DatasetError

LABEL_NAMES = ('labels', 'label', 'segmentations', 'segmentation', 'seg')
IMAGES, LABELS = 'images', 'labels'
# Tables that may lie beside the subjects.
TABLE, DESCRIPTION = 'labels.json', 'dataset.json'
# What names may end in where an image and its label map are not called alike.
CHANNEL, LABEL_ENDS = re.compile(r'^(.+)_\d{4}$'), ('', '_seg', '.seg')


def label_files(folder: Path) -> list[Path]:
    """The files of a subject's folder that are called as label maps are."""
    return named(folder, LABEL_NAMES)


def holds(source: Path) -> bool:
    """Whether there are label maps."""
    return _is_flat(source) or any(label_files(p) for p in subject_folders(source))


def subjects(source: Path, request: Request) -> list[SourceSubject]:
    """The subjects, sorted by name.

    Raises:
        DatasetError: nothing says what the values mean, or two files are one subject's image or
            label map.
    """
    found = _flat(source) if _is_flat(source) else _folders(source, request.modality)
    shared = _shared_table(source, request)
    return [
        SourceSubject(
            name,
            image,
            LabelMap(labels, shared or _own_table(labels, request)),
            told_modality(image),
        )
        for name, image, labels in found
    ]


def _is_flat(source: Path) -> bool:
    return bool(volumes(source / IMAGES)) and (source / LABELS).is_dir()


def _flat(source: Path) -> list[tuple[str, Path, Path]]:
    """Name, image and label map of each subject of ``images/`` and ``labels/``."""
    maps = by_name(source / LABELS)
    images: dict[tuple[str, str], list[Path]] = {}
    for stem, files in by_name(source / IMAGES).items():
        images.setdefault(_names(stem, maps), []).extend(files)
    # What is missing is told of its subject, when it is read.
    for label in maps.keys() - {label for _, label in images}:
        images[label, label] = [source / IMAGES / maps[label][0].name]
    found = []
    for (name, label), files in sorted(images.items()):
        image = only(files, f'images of {name}')
        missing = source / LABELS / image.name
        found.append((name, image, only(maps.get(label, [missing]), f'label maps of {name}')))
    return found


def _names(stem: str, maps: Container[str]) -> tuple[str, str]:
    """Of the subject and of its label map among ``maps``, given the image's: the label map's may
    have an ending of its own, the image's that of nnU-Net's channel."""
    channel = CHANNEL.match(stem)
    for name in (stem, channel[1]) if channel else (stem,):
        for end in LABEL_ENDS:
            if f'{name}{end}' in maps:
                return name, f'{name}{end}'
    return stem, stem


def _folders(source: Path, modality: str | None) -> list[tuple[str, Path, Path]]:
    folders = [p for p in subject_folders(source) if image_files(p) or label_files(p)]
    images = subject_images(folders, modality)
    maps = [only(label_files(p) or [p / 'labels.nii.gz'], 'label maps') for p in folders]
    return [(p.name, *pair) for p, *pair in zip(folders, images, maps, strict=True)]


def _shared_table(source: Path, request: Request) -> Table:
    if request.labels is not None:
        return read_label_table(request.labels, request.anatomies)
    if (source / TABLE).is_file():
        return read_label_table(source / TABLE, request.anatomies)
    description = source / DESCRIPTION
    return described_table(description, request.anatomies) if description.is_file() else ()


def _own_table(labels: Path, request: Request) -> Table:
    beside, asked = labels.parent / TABLE, request.anatomies
    table = read_label_table(beside, asked) if beside.is_file() else header_table(labels, asked)
    if not table and labels.exists():
        raise DatasetError(
            f'{labels}: nothing says what its values mean; give --labels TABLE.json, as '
            '{"1": "liver", "2": "spleen"}'
        )
    return table
