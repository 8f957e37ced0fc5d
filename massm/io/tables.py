"""Tables as spreadsheet programs save them: whichever encoding, whichever separator."""

import csv
import io
import re
from pathlib import Path

from massm.errors import MassmError

DELIMITERS = (';', ',', '\t')


def read_table(path: Path, error: type[MassmError]) -> list[dict[str, str]]:
    """The rows of a table with a header, by column; cells without the space around them.

    Encodings: UTF-8, UTF-16, else Windows' Western one (of which Latin-1 is a part). The separator
    is the one that stands most often in the header, outside of quotes.

    Args:
        error: what to raise.

    Raises:
        MassmError: of the kind ``error``: missing, no text, without a header or a row.
    """
    if not path.is_file():
        raise error(f'{path}: no such file; check the path')
    text = _text(path, error)
    if not text.strip():
        raise error(f'{path}: is empty; write a header and a row for each subject')
    try:
        header, *lines = _rows(text)
    except csv.Error as wrong:
        raise error(f'{path}: is no table ({wrong}); save it as CSV') from wrong
    if not lines:
        raise error(f'{path}: has a header and no row; add one for each subject')
    return [dict(zip(header, line + [''] * len(header), strict=False)) for line in lines]


def _text(path: Path, error: type[MassmError]) -> str:
    raw = path.read_bytes()
    if raw.startswith((b'PK\3\4', b'\xd0\xcf\x11\xe0')):
        raise error(f'{path}: is a spreadsheet or an archive; save it as CSV')
    if raw.startswith((b'\xff\xfe', b'\xfe\xff')):
        encodings = ['utf-16']
    elif b'\0' in raw[:2]:
        encodings = ['utf-16-le' if raw[:1] != b'\0' else 'utf-16-be']
    else:
        encodings = ['utf-8-sig', 'cp1252', 'latin-1']
    for encoding in encodings:
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise error(f'{path}: is no text; save it as CSV in UTF-8')


def _rows(text: str) -> list[list[str]]:
    header = re.sub(r'"[^"]*"', '', text.strip().splitlines()[0])
    delimiter = max(DELIMITERS, key=header.count)
    rows = csv.reader(io.StringIO(text, newline=''), delimiter=delimiter, skipinitialspace=True)
    return [[cell.strip() for cell in row] for row in rows if any(cell.strip() for cell in row)]
