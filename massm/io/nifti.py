"""NIfTI volumes: read with their grid, checked; written in one step."""

import gzip
import math
import zlib
from pathlib import Path

import nibabel
import numpy as np
import psutil
from nibabel.filebasedimages import ImageFileError

from massm.errors import ImageError
from massm.io.atomic import replacing
from massm.structures import Grid

NIFTI = (nibabel.Nifti1Image, nibabel.Nifti2Image)
HEADER_BYTES = 540


def read_volume(path: Path) -> tuple[np.ndarray, Grid]:
    """Reads a CT as float32 ``[X, Y, Z]`` (HU, scale and offset applied) with its grid.

    Raises:
        ImageError: missing, unreadable, cut short, not 3D, or with voxels that are not finite.
    """
    data, grid = _read(path, np.float32)
    if not np.isfinite(data).all():
        bad = int((~np.isfinite(data)).sum())
        raise ImageError(f'{path}: {bad} voxels are NaN or infinite; mend or re-export the volume')
    return data, grid


def read_mask(path: Path) -> tuple[np.ndarray, Grid]:
    """Reads a label mask as bool ``[X, Y, Z]``: set where the value is above one half.

    Raises:
        ImageError: as :func:`read_volume`.
    """
    data, grid = read_volume(path)
    return data > 0.5, grid


def map_volume(path: Path) -> np.ndarray:
    """Memory-maps an uncompressed NIfTI as ``[X, Y, Z]`` of its own dtype, unscaled.

    Raises:
        ImageError: missing or unreadable.
    """
    try:
        return np.asanyarray(nibabel.load(path, mmap='r').dataobj)
    except (OSError, ImageFileError, ValueError) as error:
        raise ImageError(f'{path}: cannot be read ({_reason(error)}); prepare it again') from error


def write_volume(path: Path, data: np.ndarray, grid: Grid) -> None:
    """Writes ``data`` ``grid.shape`` with its dtype and the grid's affine (mm, scanner frame)."""
    image = nibabel.Nifti1Image(data, grid.affine)
    image.header.set_xyzt_units('mm')
    image.set_sform(grid.affine, code='scanner')
    image.set_qform(grid.affine, code='scanner', strip_shears=True)
    with replacing(Path(path)) as temporary:
        nibabel.save(image, temporary)


def _read(path: Path, dtype: type) -> tuple[np.ndarray, Grid]:
    path = Path(path)
    if not path.is_file():
        raise ImageError(f'{path}: no such file; check the path')
    try:
        data, affine = _content(path)
    except ImageError:
        raise
    except (OSError, EOFError, zlib.error, ImageFileError, ValueError) as error:
        raise ImageError(
            f'{path}: cannot be read as NIfTI ({_reason(error)}); export or copy it again'
        ) from error
    if data.dtype.kind not in 'iufb':
        raise ImageError(f'{path}: voxels are {data.dtype}, not numbers; convert it to greyscale')
    while data.ndim > 3 and data.shape[-1] == 1:
        data = data[..., 0]
    if data.ndim != 3:
        raise ImageError(f'{path}: the volume is {data.shape}, not 3D; pick one frame of it')
    try:
        return data.astype(dtype), Grid(data.shape, affine)
    except ImageError as error:
        raise ImageError(f'{path}: {error}') from error


def _content(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels, scaled, and affine."""
    if not path.name.lower().endswith('.gz'):
        image = nibabel.load(path)
        _check_memory(path, image.shape)
        return np.asanyarray(image.dataobj), image.affine
    with gzip.open(path) as stream:
        head = stream.peek(HEADER_BYTES)
        kinds = [k for k in NIFTI if k.header_class.may_contain_header(head)]
        if not kinds:
            raise ImageFileError('no NIfTI header')
        image = kinds[0].from_stream(stream)
        _check_memory(path, image.shape)
        data = np.asanyarray(image.dataobj)
        # Reads to the end, where the checksum is; nibabel stops at the last voxel.
        while stream.read(2**22):
            pass
        return data, image.affine


def _check_memory(path: Path, shape: tuple[int, ...]) -> None:
    """Before a header's word is taken for it: stored and as float32, with room to resample."""
    needed, free = 12 * math.prod(shape), psutil.virtual_memory().available
    if needed > free:
        raise ImageError(
            f'{path}: {"x".join(map(str, shape))} voxels need {needed / 2**30:.0f} GiB, '
            f'{free / 2**30:.0f} GiB are free; crop the volume, or resample it first'
        )


def _reason(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
