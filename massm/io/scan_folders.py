"""Which scans a folder stands for: the images in it, or itself as a series of DICOM slices."""

from collections.abc import Iterable
from pathlib import Path

from massm.errors import ImageError
from massm.io.dicom import is_slice, visible_files
from massm.io.images import SUFFIXES, VOLUME_SUFFIXES, is_scan


def scans_in(folder: Path) -> list[Path]:
    """The images in ``folder``; where there is none, the folder itself, to be read as DICOM.

    Raises:
        ImageError: images and slices are mixed, or all scans are images in sub-folders.
    """
    inside = sorted(p for p in folder.iterdir() if not p.is_dir())
    images = [p for p in inside if is_scan(p)]
    if not images:
        if not _first_slice(inside):
            _check_sub_folders(folder)
        return [folder]
    if stray := _first_slice(visible_files(folder)):
        raise ImageError(
            f'{folder}: holds {images[0].name} and also DICOM slices, such as '
            f'{stray.relative_to(folder)}; name each image and each folder of slices by itself, or '
            'take out what is no scan'
        )
    return images


def _check_sub_folders(folder: Path) -> None:
    """Refuses a folder whose scans are images further down; a zip beside slices is none, as media
    bring programs along."""
    files = visible_files(folder)
    endings = VOLUME_SUFFIXES if _first_slice(files) else SUFFIXES
    images = [p for p in files if p.name.lower().endswith(endings)]
    if images:
        below = sorted({p.relative_to(folder).parts[0] for p in images})
        listed = ', '.join(below[:3]) + (', ...' if len(below) > 3 else '')
        raise ImageError(
            f'{folder}: holds no scan itself, {images[0].relative_to(folder)} is further down; '
            f'name the folders that hold scans ({listed})'
        )


def _first_slice(files: Iterable[Path]) -> Path | None:
    return next((p for p in files if is_slice(p)), None)
