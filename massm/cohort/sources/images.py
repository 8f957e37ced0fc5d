"""Which file of a subject's folder is its image."""

from pathlib import Path

from massm.errors import DatasetError, ImageError
from massm.io.images import VOLUME_SUFFIXES, scan_name

# What an image may be called, and what that says of its modality.
IMAGE_NAMES = {'ct': 'ct', 'mr': 'mr', 'mri': 'mr', 'image': None}


def subject_folders(source: Path) -> list[Path]:
    """The folders in ``source``, sorted; not hidden ones."""
    return sorted(p for p in source.iterdir() if p.is_dir() and p.name[0] != '.')


def image_files(folder: Path) -> list[Path]:
    """The files of ``folder`` that are called as images are."""
    return named(folder, tuple(IMAGE_NAMES))


def subject_images(folders: list[Path], modality: str | None) -> list[Path]:
    """The image of each of ``folders``: of the ``modality`` asked for where there are several;
    where there is none, what others call theirs, which will be missed.

    Raises:
        DatasetError: several are left to choose from.
    """
    found = []
    for folder in folders:
        files = image_files(folder)
        found.append([p for p in files if told_modality(p) == modality] or files)
    usual = next((files[0].name for files in found if files), 'ct.nii.gz')
    return [_image(files or [f / usual]) for files, f in zip(found, folders, strict=True)]


def told_modality(image: Path) -> str | None:
    """What an image's name says of its modality."""
    return IMAGE_NAMES.get(scan_name(image).lower())


def named(folder: Path, names: tuple[str, ...]) -> list[Path]:
    """The volumes of ``folder`` that are called one of ``names``, in the order of these."""
    files = volumes(folder)
    return [p for name in names for p in files if scan_name(p).lower() == name]


def volumes(folder: Path) -> list[Path]:
    """All volumes directly in ``folder``, sorted, and links to such that lead nowhere; not those
    that a Mac hides."""
    if not folder.is_dir():
        return []
    return sorted(
        p for p in folder.iterdir() if p.name[0] != '.' and p.name.lower().endswith(VOLUME_SUFFIXES)
    )


def by_name(folder: Path) -> dict[str, list[Path]]:
    """The volumes of ``folder`` by their names without what says their kind."""
    found: dict[str, list[Path]] = {}
    for path in volumes(folder):
        found.setdefault(scan_name(path), []).append(path)
    return found


def only(files: list[Path], what: str, remedy: str = 'remove one') -> Path:
    """The file of ``files``, of which there may be one.

    Raises:
        DatasetError: there are several.
    """
    if len(files) > 1:
        raise DatasetError(f'{files[0]} and {files[1].name} are both {what}; {remedy}')
    return files[0]


def is_there(path: Path) -> bool:
    """Whether there is such a file or folder.

    Raises:
        ImageError: a link of that name leads nowhere: not having fetched it says nothing of it.
    """
    if path.is_symlink() and not path.exists():
        raise ImageError(f'{path}: the link leads nowhere; fetch the file it names')
    return path.exists()


def _image(files: list[Path]) -> Path:
    differ = len({told_modality(p) for p in files}) > 1
    remedy = 'name one with --modality, or remove it' if differ else 'remove one'
    return only(files, 'images of one subject', remedy)
