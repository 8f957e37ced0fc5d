"""A label map as a DICOM segmentation of the series it was made from (highdicom)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from massm import __version__
from massm.errors import ConfigError, ImageError
from massm.io.anatomy_codes import anatomy_code
from massm.io.atomic import replacing

CT_IMAGE_STORAGE = '1.2.840.10008.5.1.4.1.1.2'


def check_segmentable(image: Path) -> None:
    """Refuses what no segmentation can refer to, before anything is made of it.

    Raises:
        ConfigError: highdicom is not installed, or ``image`` is no folder.
    """
    _highdicom()
    if not image.is_dir():
        raise ConfigError(
            f'{image}: the format dicomseg needs a folder of DICOM slices as input; leave it out '
            'of --formats'
        )


def write_segmentation(
    path: Path, labels: np.ndarray, names: Sequence[str], slices: Sequence[Path]
) -> None:
    """Writes a binary DICOM-SEG; segments are numbered anew, those without a voxel left out.

    Args:
        labels: ``[X, Y, Z]``, the series' own grid; label k is ``names[k - 1]``.
        slices: the series' files in the order of Z.

    Raises:
        ConfigError: highdicom is not installed, or the scan was not a folder of DICOM slices.
        ImageError: the labels are empty, or the series lacks what a segmentation refers to.
    """
    highdicom, sources = _sources(slices)
    found = [k for k in range(1, len(names) + 1) if (labels == k).any()]
    if not found:
        raise ImageError(f'{slices[0].parent}: nothing was found, so there is no segmentation')
    masks = np.stack([labels.transpose(2, 1, 0) == k for k in found], -1).astype(np.uint8)
    try:
        segmentation = highdicom.seg.Segmentation(
            source_images=sources,
            pixel_array=masks,
            segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=[
                _description(highdicom, number, names[k - 1]) for number, k in enumerate(found, 1)
            ],
            series_instance_uid=highdicom.UID(),
            series_number=900,
            sop_instance_uid=highdicom.UID(),
            instance_number=1,
            manufacturer='MASSM',
            manufacturer_model_name='MASSM',
            software_versions=__version__,
            device_serial_number='0',
            series_description='MASSM: for research, not for diagnosis',
        )
    except (AttributeError, ValueError, KeyError) as error:
        raise ImageError(
            f'{slices[0].parent}: the series lacks what a DICOM-SEG needs ({error}); choose the '
            'format labels instead'
        ) from error
    with replacing(path) as temporary:
        segmentation.save_as(temporary)


def _sources(slices: Sequence[Path]):
    if not slices:
        raise ConfigError('the format dicomseg needs a folder of DICOM slices as input')
    highdicom = _highdicom()
    import pydicom

    sources = [pydicom.dcmread(path) for path in slices]
    _complete(highdicom, sources)
    return highdicom, sources


def _highdicom():
    try:
        import highdicom
    except ImportError as error:
        raise ConfigError('DICOM-SEG needs highdicom: pip install "massm[dicom]"') from error
    return highdicom


def _complete(highdicom, sources: list) -> None:
    """Anonymised series lack what every segmentation must refer to: filled with neutral values, in
    memory only."""
    shared = {
        'SOPClassUID': CT_IMAGE_STORAGE,
        'StudyInstanceUID': highdicom.UID(),
        'SeriesInstanceUID': highdicom.UID(),
        'FrameOfReferenceUID': highdicom.UID(),
    }
    empty = ('PatientID', 'PatientName', 'PatientBirthDate', 'PatientSex', 'StudyDate', 'StudyTime')
    for source in sources:
        for name, value in {**shared, 'SOPInstanceUID': highdicom.UID()}.items():
            if not source.get(name):
                setattr(source, name, value)
        for name in (*empty, 'StudyID', 'AccessionNumber', 'ReferringPhysicianName'):
            if name not in source:
                setattr(source, name, '')


def _description(highdicom, number: int, name: str):
    from pydicom.sr.codedict import codes

    keyword, side = anatomy_code(name)
    structure = codes.SCT.AnatomicalStructure
    kind = getattr(codes.SCT, keyword, structure) if keyword else structure
    algorithm = highdicom.AlgorithmIdentificationSequence(
        'MASSM', codes.DCM.ArtificialIntelligence, __version__
    )
    description = highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=name.replace('_', ' '),
        segmented_property_category=structure,
        segmented_property_type=kind,
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
        tracking_uid=highdicom.UID(),
        tracking_id=name,
    )
    if side is not None:
        item = description.SegmentedPropertyTypeCodeSequence[0]
        item.SegmentedPropertyTypeModifierCodeSequence = [
            highdicom.sr.CodedConcept.from_code(getattr(codes.SCT, side))
        ]
    return description
