"""Changes of ``dataset.json`` by commands that may run at the same time."""

from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from massm.cohort.manifest import Manifest, load_manifest
from massm.errors import DatasetError

LOCK = '.dataset.lock'


def update_manifest(
    root: Path, change: Callable[[Manifest], Manifest], otherwise: Manifest | None = None
) -> Manifest:
    """Writes ``dataset.json`` as ``change`` makes it of what it says now, which another command
    may have written since it was read; no other writes it meanwhile.

    Args:
        change: what a command has to say of its own anatomies or subjects; what it raises leaves
            the file as it was.
        otherwise: what to change where there is no dataset that can be read.

    Returns:
        What was written.

    Raises:
        DatasetError: there is none, and no ``otherwise``.
    """
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / LOCK):
        manifest = change(_current(root, otherwise))
        manifest.save()
    return manifest


def _current(root: Path, otherwise: Manifest | None) -> Manifest:
    try:
        return load_manifest(root)
    except DatasetError:
        if otherwise is None:
            raise
        return otherwise
