"""nnU-Net's raw layout, and the Decathlon's before it: ``imagesTr``, ``labelsTr`` and
``dataset.json``; a case's channels are ``CASE_0000.nii.gz`` and so on, or the frames of
``CASE.nii.gz``."""

import json
import re
from pathlib import Path
from typing import Any

from massm.cohort.sources.images import by_name, only
from massm.cohort.sources.label_map import LabelMap
from massm.cohort.sources.label_table import Table, described_table, read_label_table
from massm.cohort.sources.request import Request
from massm.cohort.sources.subject import SourceSubject
from massm.errors import DatasetError
from massm.io.images import scan_name

DESCRIPTION = 'dataset.json'
# Folders of images and labels, and the split of their cases where that is certain.
PARTS = (('imagesTr', 'labelsTr', None), ('imagesTs', 'labelsTs', 'test'))
# Channels' names, in small letters, that are MR; a sequence's name may go on (t1ce, t2_fs).
MR_NAMES = re.compile(r'^(mr|mri|t1|t2|flair|pd|dwi|adc|cine|lge|bssfp)([^a-z]|ce|c|gd|w|$)')


def holds(source: Path) -> bool:
    """Whether there are training images and their labels."""
    return all((source / name).is_dir() for name in PARTS[0][:2])


def subjects(source: Path, request: Request) -> list[SourceSubject]:
    """A subject for each label map, sorted by name, and for each image of ``imagesTr``, whether or
    not the other is there; ``imagesTs`` are for testing.

    Raises:
        DatasetError: the description is missing or broken, a channel has to be chosen, two files
            are of one name, or no image has a label map.
    """
    description = _description(source)
    channels = _channels(description, source / DESCRIPTION)
    channel = _channel(channels, request.channel, source / DESCRIPTION)
    table = _table(source / DESCRIPTION, request)
    modality = _modality(channels[channel])
    found = []
    for images, labels, split in PARTS:
        if not (source / images).is_dir():
            continue
        for case, image, label in _cases(source / images, source / labels, channel, split):
            # Channels that are not files of their own are the frames of one.
            is_frame = len(channels) > 1 and scan_name(image) == case
            frame = channel if is_frame else None
            found.append(SourceSubject(case, image, LabelMap(label, table), modality, split, frame))
    return sorted(found, key=lambda subject: subject.id)


def _cases(
    images: Path, labels: Path, channel: int, split: str | None
) -> list[tuple[str, Path, Path]]:
    """Name, image and label map of each case; one of the two may be missing, but for testing only
    the image."""
    scans = {stem: only(files, stem) for stem, files in by_name(images).items()}
    maps = {stem: only(files, stem) for stem, files in by_name(labels).items()}
    end = f'_{channel:04d}'
    own = {case: scans.get(f'{case}{end}') or scans.get(case) for case in maps}
    used = {scan_name(image) for image in own.values() if image}
    if maps and not used:
        raise DatasetError(
            f'{labels}: no label map has its image in {images}; nnU-Net wants CASE{end}.nii.gz '
            'there for CASE.nii.gz here'
        )
    end = '' if used <= maps.keys() else end
    both = [(c, own[c] or images / f'{c}{end}{_kind(p)}', p) for c, p in maps.items()]
    if not maps or split == 'test':
        return both
    rest = {s.removesuffix(end): p for s, p in scans.items() if s not in used and s.endswith(end)}
    return both + [(c, p, labels / f'{c}{_kind(p)}') for c, p in rest.items()]


def _kind(path: Path) -> str:
    """The ending that says a file's kind."""
    return path.name[len(scan_name(path)) :]


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


def _table(path: Path, request: Request) -> Table:
    if request.labels is not None:
        return read_label_table(request.labels, request.anatomies)
    table = described_table(path, request.anatomies)
    if not table:
        raise DatasetError(
            f'{path}: has no labels; write "labels": {{"liver": 1, ...}} in it, or give --labels '
            'TABLE.json'
        )
    return table


def _channels(content: dict[str, Any], path: Path) -> dict[int, str]:
    """The channels' numbers and names."""
    told = content.get('channel_names', content.get('modality', {}))
    if isinstance(told, str):
        told = {'0': told}
    try:
        return {int(key): str(value) for key, value in told.items()} or {0: ''}
    except (AttributeError, ValueError) as error:
        raise DatasetError(f'{path}: channel_names is no table of numbers and names') from error


def _channel(names: dict[int, str], asked: str | None, path: Path) -> int:
    """The number of the channel to take."""
    chosen = [k for k, n in names.items() if asked in (str(k), f'{k:04d}', n)]
    if asked is None and len(names) == 1:
        chosen = list(names)
    if len(chosen) == 1:
        return chosen[0]
    listed = ', '.join(f'{k} ({n})' for k, n in sorted(names.items()))
    wrong = 'several channels' if asked is None else f'no one channel {asked}'
    raise DatasetError(f'{path}: has {wrong}; name one with --channel: {listed}')


def _modality(name: str) -> str | None:
    small = name.strip().lower()
    if small == 'ct':
        return 'ct'
    return 'mr' if MR_NAMES.match(small) else None
