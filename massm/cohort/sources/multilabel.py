"""One label map a subject, with a table of its values: ``SUBJECT/ct.nii.gz`` and
``SUBJECT/labels.nii.gz``, or ``images/SUBJECT.nii.gz`` and ``labels/SUBJECT.nii.gz``."""

from pathlib import Path

from massm.cohort.sources.images import (
    image_files,
    named,
    subject_folders,
    subject_images,
    told_modality,
    volumes,
)
from massm.cohort.sources.label_map import LabelMap
from massm.cohort.sources.label_table import Table, header_table, read_label_table
from massm.cohort.sources.request import Request
from massm.cohort.sources.subject import SourceSubject
from massm.errors import DatasetError
from massm.io.images import scan_name

LABEL_NAMES = ('labels', 'label', 'segmentations', 'segmentation', 'seg')
IMAGES, LABELS = 'images', 'labels'
# Tables that may lie beside the subjects.
TABLES = ('labels.json', 'dataset.json')


def label_files(folder: Path) -> list[Path]:
    """The files of a subject's folder that are called as label maps are."""
    return named(folder, LABEL_NAMES)


def holds(source: Path) -> bool:
    """Whether there are label maps."""
    return bool(_flat(source)) or any(label_files(p) for p in subject_folders(source))


def subjects(source: Path, request: Request) -> list[SourceSubject]:
    """The subjects, sorted by name.

    Raises:
        DatasetError: nothing says what the values mean.
    """
    found = _flat(source) or _folders(source, request.modality)
    shared = _shared_table(source, request.labels)
    return [
        SourceSubject(
            name, image, LabelMap(labels, shared or _own_table(labels)), told_modality(image)
        )
        for name, image, labels in found
    ]


def _flat(source: Path) -> list[tuple[str, Path, Path]]:
    """Name, image and label map of each subject of ``images/`` and ``labels/``."""
    if not (source / IMAGES).is_dir() or not (source / LABELS).is_dir():
        return []
    maps = {scan_name(p): p for p in volumes(source / LABELS)}
    images = [(scan_name(p), p) for p in volumes(source / IMAGES)]
    return [(name, p, maps.get(name, source / LABELS / p.name)) for name, p in images]


def _folders(source: Path, modality: str | None) -> list[tuple[str, Path, Path]]:
    folders = [p for p in subject_folders(source) if image_files(p) or label_files(p)]
    images = subject_images(folders, modality)
    maps = [(*label_files(p), p / 'labels.nii.gz')[0] for p in folders]
    return [(p.name, *pair) for p, *pair in zip(folders, images, maps, strict=True)]


def _shared_table(source: Path, given: Path | None) -> Table:
    if given is not None:
        return read_label_table(given)
    beside = [source / name for name in TABLES if (source / name).is_file()]
    return read_label_table(beside[0]) if beside else ()


def _own_table(labels: Path) -> Table:
    beside = labels.parent / TABLES[0]
    table = read_label_table(beside) if beside.is_file() else header_table(labels)
    if not table and labels.exists():
        raise DatasetError(
            f'{labels}: nothing says what its values mean; give --labels TABLE.json, as '
            '{"1": "liver", "2": "spleen"}'
        )
    return table
