"""What the values of a label map mean: a table beside it, or in its own header."""

import json
import re
from pathlib import Path
from typing import Any

import nibabel

from massm.errors import DatasetError
from massm.io.images import NIFTI_SUFFIXES

Table = tuple[tuple[str, tuple[int, ...]], ...]
BACKGROUND, IGNORE = 'background', 'ignore'
# A label in the extended header of TotalSegmentator's --ml files.
HEADER_LABEL = re.compile(r'<Label\s[^>]*\bKey="(\d+)"[^>]*>(?:<!\[CDATA\[)?([^<\]]*)')


def read_label_table(path: Path) -> Table:
    """The anatomies of a table and their values, in the order of the values.

    Read are ``{"1": "liver"}``, ``{"liver": 1}`` and ``{"abdomen": [1, 2]}``, alone or, as in
    nnU-Net's ``dataset.json``, under ``labels``. The background is left out.

    Raises:
        DatasetError: missing, or no such table.
    """
    try:
        content = json.loads(path.read_text(encoding='utf-8-sig'))
    except OSError as error:
        raise DatasetError(f'{path}: cannot be read ({error.strerror}); check the path') from error
    except ValueError as error:
        raise DatasetError(f'{path}: is no JSON ({error}); write {{"1": "liver", ...}}') from error
    if isinstance(content, dict) and isinstance(content.get('labels'), dict):
        content = content['labels']
    if not isinstance(content, dict) or not content:
        raise DatasetError(f'{path}: holds no table of labels; write {{"1": "liver", ...}}')
    return _table(content, path)


def header_table(path: Path) -> Table:
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
    return _table(found, path) if found else ()


def _table(content: dict[str, Any], path: Path) -> Table:
    entries: dict[str, tuple[int, ...]] = {}
    for key, value in content.items():
        name, values = _entry(key, value, path)
        if name in entries:
            raise DatasetError(f'{path}: names {name} twice; keep one')
        if name.lower() != BACKGROUND:
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
        raise DatasetError(
            f'{path}: {key!r}: {value!r} does not give a name and a whole number from 0 up'
        ) from error
    if not numbers or (0 in numbers and name.lower() != BACKGROUND):
        raise DatasetError(f'{path}: {name} has the value 0, which is the background; number it')
    return name.strip(), numbers


def _whole(value: Any) -> int:
    number = int(str(value).strip())
    if isinstance(value, bool) or number < 0:
        raise ValueError
    return number
