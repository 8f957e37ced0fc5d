"""What the values of a label map mean: a table beside it, or in its own header."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel

from massm.errors import DatasetError
from massm.io.images import NIFTI_SUFFIXES

Table = tuple[tuple[str, tuple[int, ...]], ...]
BACKGROUND, IGNORE = 'background', 'ignore'
# Of what is no value, this many characters are shown.
SHOWN = 60
# A label in the extended header of TotalSegmentator's --ml files.
HEADER_LABEL = re.compile(r'<Label\s[^>]*\bKey="(\d+)"[^>]*>(?:<!\[CDATA\[)?([^<\]]*)')


def read_label_table(path: Path, asked: Sequence[str] = ()) -> Table:
    """The anatomies of a table and their values, in the order of the values.

    Read are ``{"1": "liver"}``, ``{"liver": 1}`` and ``{"abdomen": [1, 2]}``, alone or, as in
    nnU-Net's ``dataset.json``, under ``labels``. The background, whatever the name of the value
    0, is left out.

    Args:
        asked: the anatomies that somebody wants; none of them is the background.

    Raises:
        DatasetError: missing, or no such table.
    """
    content = _content(path)
    if isinstance(content, dict) and isinstance(content.get('labels'), dict):
        content = content['labels']
    if not isinstance(content, dict) or not content:
        raise DatasetError(f'{path}: holds no table of labels; write {{"1": "liver", ...}}')
    return _table(content, path, asked)


def described_table(path: Path, asked: Sequence[str] = ()) -> Table:
    """The table under ``labels`` of a ``dataset.json``; empty where there is none, since other
    programs call their files that too.

    Raises:
        DatasetError: cannot be read, or is a broken table.
    """
    content = _content(path)
    labels = content.get('labels') if isinstance(content, dict) else None
    return _table(labels, path, asked) if isinstance(labels, dict) else ()


def header_table(path: Path, asked: Sequence[str] = ()) -> Table:
    """The table in the header of a label map that TotalSegmentator wrote; empty where there is
    none."""
    if not path.name.lower().endswith(NIFTI_SUFFIXES):
        return ()
    try:
        header = nibabel.load(path).header
        contents = [extension.get_content() for extension in header.extensions]
    except Exception:  # the file is looked at, and told of, when it is read
        return ()
    text = ' '.join(
        c if isinstance(c, str) else bytes(c).decode('utf-8', 'replace') for c in contents
    )
    found = {key: name for key, name in HEADER_LABEL.findall(text) if name.strip()}
    return _table(found, path, asked) if found else ()


def _content(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding='utf-8-sig'))
    except OSError as error:
        raise DatasetError(f'{path}: cannot be read ({error.strerror}); check the path') from error
    except ValueError as error:
        raise DatasetError(f'{path}: is no JSON ({error}); write {{"1": "liver", ...}}') from error


def _table(content: dict[str, Any], path: Path, asked: Sequence[str]) -> Table:
    entries: dict[str, tuple[int, ...]] = {}
    for key, value in content.items():
        name, values = _entry(key, value, path)
        if name.lower() == BACKGROUND or (values == (0,) and name not in asked):
            continue
        if not values or 0 in values:
            raise DatasetError(
                f'{path}: {name} has the value 0, which is the background; number it'
            )
        if name in entries:
            raise DatasetError(f'{path}: names {name} twice; keep one')
        entries[name] = values
    return tuple(sorted(entries.items(), key=lambda entry: entry[1]))


def _entry(key: str, value: Any, path: Path) -> tuple[str, tuple[int, ...]]:
    """``"1": "liver"`` or ``"liver": 1`` or ``"abdomen": [1, 2]``."""
    if isinstance(value, str) and not value.strip().isdigit():
        name, values = value, [key]
    else:
        name, values = key, value if isinstance(value, list) else [value]
    try:
        numbers = tuple(sorted(_whole(v) for v in values))
    except ValueError as error:
        shown = repr(value) if len(repr(value)) <= SHOWN else f'{repr(value)[:SHOWN]}...'
        raise DatasetError(
            f'{path}: {key!r}: {shown} does not give a name and a whole number from 0 up'
        ) from error
    return name.strip(), numbers


def _whole(value: Any) -> int:
    number = int(str(value).strip())
    if isinstance(value, bool) or number < 0:
        raise ValueError
    return number
