"""nnU-Net's raw layout, and the Decathlon's before it: ``imagesTr``, ``labelsTr`` and
``dataset.json``; a case's channels are ``CASE_0000.nii.gz`` and so on, or ``CASE.nii.gz``."""

import json
import re
from pathlib import Path
from typing import Any

from massm.cohort.sources.images import volumes
from massm.cohort.sources.label_map import LabelMap
from massm.cohort.sources.label_table import read_label_table
from massm.cohort.sources.request import Request
from massm.cohort.sources.subject import SourceSubject
from massm.errors import DatasetError
from massm.io.images import scan_name

DESCRIPTION = 'dataset.json'
# Folders of images and labels, and the split of their cases where that is certain.
PARTS = (('imagesTr', 'labelsTr', None), ('imagesTs', 'labelsTs', 'test'))
CHANNEL = re.compile(r'^(.+)_(\d{4})$')
# Channels' names, in small letters, that are MR; a sequence's name may go on (t1ce, t2_fs).
MR_NAMES = re.compile(r'^(mr|mri|t1|t2|flair|pd|dwi|adc|cine|lge|bssfp)([^a-z]|ce|c|gd|w|$)')


def holds(source: Path) -> bool:
    """Whether there are training images and their labels."""
    return all((source / name).is_dir() for name in PARTS[0][:2])


def subjects(source: Path, request: Request) -> list[SourceSubject]:
    """The cases that have labels, sorted by name: those of ``imagesTs`` count where ``labelsTs``
    is there, and are for testing.

    Raises:
        DatasetError: the description is missing or broken, a channel has to be chosen, or no case
            has labels.
    """
    description = _description(source)
    channel, name = _channel(description, request.channel, source / DESCRIPTION)
    table = read_label_table(request.labels or source / DESCRIPTION)
    modality = _modality(name)
    found = []
    for images, labels, split in PARTS:
        for case, image, label in _cases(source / images, source / labels, channel):
            found.append(SourceSubject(case, image, LabelMap(label, table), modality, split))
    if not found:
        raise DatasetError(
            f'{source}: no image of imagesTr has a label map of its name in labelsTr; nnU-Net '
            'wants CASE_0000.nii.gz beside CASE.nii.gz'
        )
    return sorted(found, key=lambda subject: subject.id)


def _cases(images: Path, labels: Path, channel: int) -> list[tuple[str, Path, Path]]:
    """Name, image and label map of each case that has both."""
    if not images.is_dir() or not labels.is_dir():
        return []
    maps = {scan_name(p): p for p in volumes(labels)}
    found = []
    for path in volumes(images):
        stem, number = scan_name(path), 0
        if stem not in maps and (parts := CHANNEL.match(stem)):
            stem, number = parts[1], int(parts[2])
        if number == channel and stem in maps:
            found.append((stem, path, maps[stem]))
    return found


def _description(source: Path) -> dict[str, Any]:
    path = source / DESCRIPTION
    try:
        content = json.loads(path.read_text(encoding='utf-8-sig'))
    except OSError as error:
        raise DatasetError(
            f'{path}: is missing; nnU-Net keeps channels and labels in it, write one, or name '
            'another layout with --layout'
        ) from error
    except ValueError as error:
        raise DatasetError(f'{path}: is no JSON ({error}); mend it') from error
    if not isinstance(content, dict):
        raise DatasetError(f'{path}: is no description of a dataset; mend it')
    return content


def _channel(content: dict[str, Any], asked: str | None, path: Path) -> tuple[int, str]:
    """Number and name of the channel to take."""
    told = content.get('channel_names', content.get('modality', {}))
    if isinstance(told, str):
        told = {'0': told}
    try:
        names = {int(key): str(value) for key, value in told.items()} or {0: ''}
    except (AttributeError, ValueError) as error:
        raise DatasetError(f'{path}: channel_names is no table of numbers and names') from error
    chosen = [k for k, n in names.items() if asked in (str(k), f'{k:04d}', n)]
    if asked is None and len(names) == 1:
        chosen = list(names)
    if len(chosen) == 1:
        return chosen[0], names[chosen[0]]
    listed = ', '.join(f'{k} ({n})' for k, n in sorted(names.items()))
    wrong = 'several channels' if asked is None else f'no one channel {asked}'
    raise DatasetError(f'{path}: has {wrong}; name one with --channel: {listed}')


def _modality(name: str) -> str | None:
    small = name.strip().lower()
    if small == 'ct':
        return 'ct'
    return 'mr' if MR_NAMES.match(small) else None
