"""Files appear whole or not at all: written under a temporary name, then renamed."""

import filecmp
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside ``path`` (same suffixes); renames it when the block ends. A
    file that holds the same already stays as it is, its time of change too.

    When the block raises, nothing is left behind and an older ``path`` stays as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(
        dir=path.parent, prefix='.partial-', suffix=''.join(path.suffixes)
    )
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        if not (path.is_file() and filecmp.cmp(temporary, path, shallow=False)):
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 ``text`` to ``path`` in one step."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding='utf-8')
