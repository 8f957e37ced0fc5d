"""Which file of a subject's folder is its image."""

from pathlib import Path

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
    where there is none, what others call theirs, which will be missed."""
    found = []
    for folder in folders:
        files = image_files(folder)
        found.append([p for p in files if told_modality(p) == modality] or files)
    usual = next((files[0].name for files in found if files), 'ct.nii.gz')
    return [(*files, f / usual)[0] for files, f in zip(found, folders, strict=True)]


def told_modality(image: Path) -> str | None:
    """What an image's name says of its modality."""
    return IMAGE_NAMES.get(scan_name(image).lower())


def named(folder: Path, names: tuple[str, ...]) -> list[Path]:
    """The volumes of ``folder`` that are called one of ``names``, in the order of these."""
    if not folder.is_dir():
        return []
    files = {scan_name(p).lower(): p for p in sorted(volumes(folder), reverse=True)}
    return [files[name] for name in names if name in files]


def volumes(folder: Path) -> list[Path]:
    """All volumes directly in ``folder``, sorted; not those that a Mac hides."""
    return sorted(
        p for p in folder.iterdir() if p.name[0] != '.' and p.name.lower().endswith(VOLUME_SUFFIXES)
    )
