"""Whether two images or files hold the same, wherever they lie."""

import hashlib
from pathlib import Path

from massm.io.detached import data_files

CHUNK = 2**20


def content_digest(path: Path) -> str | None:
    """SHA-256 of a file with the files beside it that it is the header of, or of a folder's slices,
    whatever they are called; None where there is nothing."""
    if path.is_dir():
        from massm.io.dicom import slice_files  # with torch, which a command's --help does without

        return _joined(slice_files(path))
    if not path.is_file():
        return None
    voxels = data_files(path)
    return _joined([path, *voxels]) if voxels else file_digest(path)


def file_digest(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open('rb') as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _joined(files: list[Path]) -> str:
    each = sorted(file_digest(file) for file in files)
    return hashlib.sha256(''.join(each).encode()).hexdigest()
