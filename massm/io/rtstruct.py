"""DICOM RTSTRUCT: what was contoured slice by slice, as masks on the image's grid.

Read here and not by rt-utils: its filling rounds every point to a whole pixel and sets the border
too, half a voxel too much all around.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from skimage.draw import polygon

from massm.errors import ImageError
from massm.io.itk import LPS_TO_RAS
from massm.structures import Grid

STRUCTURE_SET = '1.2.840.10008.5.1.4.1.1.481.3'
CLOSED = ('CLOSED_PLANAR', 'CLOSEDPLANAR_XOR')
# Voxels that a contour may lie off its slice.
OFF_SLICE = 0.3


@dataclass(frozen=True)
class Structures:
    """The contours of one file by the name of their structure, each ``[N, 3]`` (patient mm), and
    the UID of the ``series`` they were drawn on, where it is told."""

    contours: dict[str, list[np.ndarray]]
    series: str | None


def pydicom() -> Any:
    """The module.

    Raises:
        ImageError: it is not installed.
    """
    try:
        import pydicom
    except ImportError as error:
        raise ImageError('RTSTRUCT needs pydicom: pip install "massm[rtstruct]"') from error
    return pydicom


def is_structure_set(path: Path) -> bool:
    """Whether a DICOM file is an RTSTRUCT, by its first bytes."""
    with path.open('rb') as stream:
        head = stream.read(1024)
    return head[128:132] == b'DICM' and STRUCTURE_SET.encode() + b'\0' in head


def read_structures(path: Path) -> Structures:
    """Reads the closed contours of an RTSTRUCT; structures without any are there with none.

    Raises:
        ImageError: unreadable, or names a structure twice.
    """
    module = pydicom()
    try:
        data = module.dcmread(path)
        names = {int(r.ROINumber): str(r.ROIName).strip() for r in data.StructureSetROISequence}
        drawn = {int(r.ReferencedROINumber): _closed(r) for r in data.get('ROIContourSequence', [])}
    except (module.errors.InvalidDicomError, OSError, AttributeError, ValueError) as error:
        raise ImageError(
            f'{path}: cannot be read as RTSTRUCT ({error}); export it again'
        ) from error
    twice = sorted({n for n in names.values() if list(names.values()).count(n) > 1})
    if twice:
        raise ImageError(f'{path}: has {twice[0]} twice; rename or remove one of them')
    return Structures({name: drawn.get(k, []) for k, name in names.items()}, _series(data))


def structure_mask(contours: list[np.ndarray], grid: Grid, where: str) -> np.ndarray:
    """``grid.shape`` bool: voxels whose centres lie inside an odd number of ``contours``, so that
    one inside another is a hole.

    Args:
        contours: ``[N, 3]`` each, patient mm, on slices along the grid's last axis.
        where: what to call the structure in errors.

    Raises:
        ImageError: a contour lies between slices or across them.
    """
    mask = np.zeros(grid.shape, dtype=bool)
    for contour in contours:
        points = grid.to_voxel(contour)
        k = round(float(points[:, 2].mean()))
        if np.abs(points[:, 2] - k).max() > OFF_SLICE:
            raise ImageError(
                f'{where}: a contour lies between the slices of the image or across them; export '
                'the structures together with the series they were drawn on'
            )
        if 0 <= k < grid.shape[2]:
            rows, columns = polygon(points[:, 0], points[:, 1], grid.shape[:2])
            mask[rows, columns, k] ^= True
    return mask


def _closed(structure: Any) -> list[np.ndarray]:
    contours = []
    for contour in structure.get('ContourSequence', []):
        points = np.array(contour.ContourData, dtype=np.float64).reshape(-1, 3)
        if contour.get('ContourGeometricType', CLOSED[0]) in CLOSED and len(points) > 2:
            contours.append(points * np.diag(LPS_TO_RAS)[:3])
    return contours


def _series(data: Any) -> str | None:
    try:
        study = data.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
        return str(study.RTReferencedSeriesSequence[0].SeriesInstanceUID)
    except (AttributeError, IndexError):
        return None
