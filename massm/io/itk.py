"""NRRD and MetaImage through SimpleITK; LPS becomes RAS+ here."""

from pathlib import Path
from typing import Any

import numpy as np

from massm.errors import ImageError
from massm.structures import Grid

# What to do about an image that is not three-dimensional.
ONE_VOLUME = 'give one volume (of several frames, save one as a file of its own)'
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
        ImageError: unreadable, several values a voxel, not 3D, or with voxels that are not finite.
    """
    sitk = simpleitk()
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise ImageError(f'{path}: cannot be read; export or copy it again') from error
    if (count := image.GetNumberOfComponentsPerPixel()) > 1:
        raise ImageError(
            f'{path}: each voxel has {count} values, colours or frames, not one; convert colours '
            f'to greyscale, or {ONE_VOLUME}'
        )
    if image.GetDimension() == 4 and image.GetSize()[3] == 1:
        image = image[:, :, :, 0]
    if image.GetDimension() != 3:
        raise ImageError(f'{path}: the volume is {image.GetSize()}, not 3D; {ONE_VOLUME}')
    volume = np.ascontiguousarray(sitk.GetArrayViewFromImage(image).T, dtype=dtype)
    if not np.isfinite(volume).all():
        raise ImageError(f'{path}: voxels are NaN or infinite; mend or re-export the volume')
    affine = np.eye(4)
    direction = np.reshape(image.GetDirection(), (3, 3))
    affine[:3, :3] = direction * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return volume, Grid(volume.shape, LPS_TO_RAS @ affine)
