"""NRRD and MetaImage through SimpleITK; LPS becomes RAS+ here."""

from pathlib import Path
from typing import Any

import numpy as np

from massm.errors import ImageError
from massm.structures import Grid

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def simpleitk() -> Any:
    """The module.

    Raises:
        ImageError: it is not installed.
    """
    try:
        import SimpleITK
    except ImportError as error:
        raise ImageError(
            'DICOM, NRRD and MetaImage need SimpleITK: pip install "massm[dicom]"'
        ) from error
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    return SimpleITK


def read_volume(path: Path, dtype: type | None = np.float32) -> tuple[np.ndarray, Grid]:
    """Reads a volume as ``[X, Y, Z]`` with its grid in RAS+ mm.

    Args:
        dtype: of the voxels; by ``None`` the file's own, so that no label is rounded.

    Raises:
        ImageError: unreadable, colour, not 3D, or with voxels that are not finite.
    """
    sitk = simpleitk()
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise ImageError(f'{path}: cannot be read; export or copy it again') from error
    if image.GetNumberOfComponentsPerPixel() > 1:
        raise ImageError(f'{path}: voxels are colours, not numbers; convert it to greyscale')
    if image.GetDimension() == 4 and image.GetSize()[3] == 1:
        image = image[:, :, :, 0]
    if image.GetDimension() != 3:
        raise ImageError(f'{path}: the volume is {image.GetSize()}, not 3D; pick one frame of it')
    volume = np.ascontiguousarray(sitk.GetArrayViewFromImage(image).T, dtype=dtype)
    if not np.isfinite(volume).all():
        raise ImageError(f'{path}: voxels are NaN or infinite; mend or re-export the volume')
    affine = np.eye(4)
    direction = np.reshape(image.GetDirection(), (3, 3))
    affine[:3, :3] = direction * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return volume, Grid(volume.shape, LPS_TO_RAS @ affine)
