"""Files and folders appear whole or not at all: written under a temporary name, then renamed."""

import filecmp
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


# The system tells it only to one who sets it, for all threads at once: asked before there are any.
UMASK = _umask()


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
            temporary.chmod(0o666 & ~UMASK)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(folder: Path, own: Collection[str]) -> Iterator[Path]:
    """Yields an empty folder beside ``folder``, which takes its place when the block ends.

    Of an older ``folder`` the files ``own`` (paths in it) go then, and all others move over; when
    the block raises it stays as it was. One that cannot be moved, since something is mounted there
    or its parent is read-only, keeps its place and gets file after file, in the order they were
    written.

    Raises:
        NotADirectoryError: ``folder`` is a file, which stays as it is.
    """
    folder = Path(folder).resolve()
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f'{folder}: is a file, where a folder would be written; move it')
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.is_dir() and (folder.is_mount() or not os.access(folder.parent, os.W_OK)):
        with tempfile.TemporaryDirectory(dir=folder, prefix='.partial-') as room:
            yield Path(room)
            _fill(folder, Path(room), own)
        return
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix='.partial-') as room:
        made, earlier = Path(room) / 'made', Path(room) / 'earlier'
        made.mkdir()
        yield made
        if not folder.exists():
            made.rename(folder)
            return
        _copy_others(folder, made, own)
        try:
            folder.rename(earlier)
            made.rename(folder)
        except BaseException:
            if earlier.exists() and not folder.exists():
                earlier.rename(folder)
            raise


def _fill(folder: Path, made: Path, own: Collection[str]) -> None:
    files = sorted((p for p in made.rglob('*') if p.is_file()), key=lambda p: p.stat().st_mtime_ns)
    names = [file.relative_to(made) for file in files]
    for name in {Path(name) for name in own} - set(names):
        (folder / name).unlink(missing_ok=True)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).replace(folder / name)


def _copy_others(source: Path, target: Path, own: Collection[str]) -> None:
    """Links as links, whatever they lead to, and empty folders too."""
    for path in source.rglob('*'):
        name = path.relative_to(source)
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                (target / name).mkdir(parents=True, exist_ok=True)
        elif name.as_posix() not in own and not (target / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target / name, follow_symlinks=False)


def copy_file(source: Path, target: Path) -> None:
    """Copies the content of ``source`` to ``target`` in one step."""
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 ``text`` to ``path`` in one step."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding='utf-8')
