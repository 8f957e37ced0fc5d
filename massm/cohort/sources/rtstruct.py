"""Radiotherapy: ``SUBJECT/`` holds the slices of a DICOM series and the RTSTRUCT drawn on it."""

from pathlib import Path

from massm.cohort.sources.images import subject_folders
from massm.cohort.sources.request import Request
from massm.cohort.sources.structure_set import StructureSet
from massm.cohort.sources.subject import SourceSubject
from massm.errors import ImageError
from massm.io.dicom import is_dicom, series_modality
from massm.io.rtstruct import is_structure_set, pydicom, read_structures
from massm.structures.modality import DICOM_MODALITIES


def holds(source: Path) -> bool:
    """Whether a folder in ``source`` holds a DICOM file."""
    return any(_has_dicom(p) for p in subject_folders(source))


def subjects(source: Path, request: Request) -> list[SourceSubject]:
    """The subjects, sorted by name.

    Raises:
        ImageError: pydicom or SimpleITK is not installed.
    """
    pydicom()
    folders = [p for p in subject_folders(source) if _has_dicom(p)]
    return [_subject(folder) for folder in folders]


def _subject(folder: Path) -> SourceSubject:
    structures = tuple(p for p in _files(folder) if is_structure_set(p))
    series = _series(structures[0]) if len(structures) == 1 else None
    told = DICOM_MODALITIES.get(series_modality(folder, series) or '')
    return SourceSubject(folder.name, folder, StructureSet(structures), told, series=series)


def _series(path: Path) -> str | None:
    try:
        return read_structures(path).series
    except ImageError:  # told when the subject is read
        return None


def _has_dicom(folder: Path) -> bool:
    return any(is_dicom(p) for p in _files(folder))


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob('*') if p.is_file() and p.name[0] != '.')
