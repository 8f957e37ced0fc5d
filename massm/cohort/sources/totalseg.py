"""TotalSegmentator's layout: ``SUBJECT/ct.nii.gz``, ``SUBJECT/segmentations/ANATOMY.nii.gz``."""

from pathlib import Path

from massm.cohort.sources.images import image_files, subject_folders, subject_images, told_modality
from massm.cohort.sources.mask_files import MaskFiles
from massm.cohort.sources.multilabel import label_files
from massm.cohort.sources.request import Request
from massm.cohort.sources.subject import SourceSubject

MASKS = 'segmentations'


def holds(source: Path) -> bool:
    """Whether subjects have folders of masks; images alone are taken for it too."""
    folders = subject_folders(source)
    if any((p / MASKS).is_dir() for p in folders):
        return True
    return any(image_files(p) and not label_files(p) for p in folders)


def subjects(source: Path, request: Request) -> list[SourceSubject]:
    """The subjects, sorted by name."""
    folders = [p for p in subject_folders(source) if image_files(p) or (p / MASKS).is_dir()]
    images = subject_images(folders, request.modality)
    return [
        SourceSubject(p.name, image, MaskFiles(p / MASKS), told_modality(image))
        for p, image in zip(folders, images, strict=True)
    ]
