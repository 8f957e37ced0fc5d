"""Headers of NRRD and MetaImage whose voxels are in files of their own."""

import os
import re
from glob import escape
from pathlib import Path

ITK_SUFFIXES = ('.nrrd', '.nhdr', '.mha', '.mhd')
HEADER_BYTES = 2**16
NAMED = re.compile(r'^(?:ElementDataFile *=|data ?file:)(.*)$', re.MULTILINE | re.IGNORECASE)
# A number in a pattern of names, as in slice%03d.raw.
NUMBER = re.compile(r'%\d*d')


def data_files(header: Path) -> list[Path]:
    """The files of voxels that ``header`` names and that are there, sorted; none where it holds the
    voxels itself, is of another kind, or cannot be read."""
    if not header.name.lower().endswith(ITK_SUFFIXES):
        return []
    try:
        with header.open('rb') as stream:
            head = os.fsdecode(stream.read(HEADER_BYTES)).replace('\r\n', '\n')
        return sorted(p for name in _named(head) for p in _files(header.parent, name))
    except (OSError, ValueError):  # told when the volume is read
        return []


def _named(head: str) -> list[str]:
    found = NAMED.search(head.partition('\n\n')[0] if head.startswith('NRRD') else head)
    if not found or found[1].strip() == 'LOCAL':
        return []
    if found[1].split()[:1] == ['LIST']:
        return [line.strip() for line in head[found.end() :].split('\n') if line.strip()]
    return [found[1].strip()]


def _files(folder: Path, name: str) -> list[Path]:
    if not NUMBER.search(name):
        return [folder / name] if (folder / name).is_file() else []
    first = folder / name.split()[0]  # the numbers that it goes through follow
    return list(first.parent.glob(NUMBER.sub('*', escape(first.name))))
