"""Zip files, unpacked without harm."""

import zipfile
from pathlib import Path

from massm.errors import ImageError

LARGEST_BYTES = 8 * 2**30
LARGEST_RATIO = 200


def unpack(path: Path, folder: Path) -> None:
    """Unpacks a zip into ``folder``.

    Raises:
        ImageError: not a zip, a member would land outside ``folder``, or it would grow to more
            than 8 GiB or 200 times its size.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [_with_slashes(member) for member in archive.infolist()]
            members = [member for member in members if not member.is_dir()]
            _check(path, members, folder)
            for member in members:
                archive.extract(member, folder)
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError) as error:
        raise ImageError(f'{path}: cannot be unpacked ({error}); pack it again') from error


def _with_slashes(member: zipfile.ZipInfo) -> zipfile.ZipInfo:
    """Old .NET separates folders with a backslash."""
    member.filename = member.filename.replace('\\', '/')
    return member


def _check(path: Path, members: list[zipfile.ZipInfo], folder: Path) -> None:
    root = folder.resolve()
    for member in members:
        if not (root / member.filename).resolve().is_relative_to(root):
            raise ImageError(f'{path}: member {member.filename!r} leaves the archive; refused')
    size = sum(member.file_size for member in members)
    if size > min(LARGEST_BYTES, LARGEST_RATIO * max(path.stat().st_size, 2**20)):
        raise ImageError(f'{path}: would unpack to {size / 2**30:.1f} GiB; refused')
