"""NIfTI volumes: read with their grid, checked; written in one step."""

import gzip
import math
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
import psutil
from nibabel.filebasedimages import ImageFileError

from massm.errors import ImageError
from massm.io.atomic import replacing
from massm.io.itk import ONE_VOLUME
from massm.io.placement import APART_MM, forms_apart, millimetres, nifti_placement
from massm.structures import Grid

NIFTI = (nibabel.Nifti1Image, nibabel.Nifti2Image)
HEADER_BYTES = 540
# A mask's values may be off their two by this share of the larger: interpolation of float files.
ROUNDING = 1e-3


def read_volume(path: Path) -> tuple[np.ndarray, Grid]:
    """Reads a CT as float32 ``[X, Y, Z]`` (HU, scale and offset applied) with its grid.

    Raises:
        ImageError: missing, unreadable, cut short, not 3D, or with voxels that are not finite.
    """
    return read_placed(path)[:2]


def read_placed(
    path: Path, dtype: type | None = np.float32, frame: int | None = None
) -> tuple[np.ndarray, Grid, bool, list[str]]:
    """As :func:`read_volume`; and whether the header orients the volume, with remarks
    (:func:`massm.io.placement.nifti_placement`).

    Args:
        dtype: of the voxels; by ``None`` the file's own, so that no label is rounded.
        frame: which one of a file of several, from 0; a volume is its own frame 0.
    """
    image, data, grid = _read(path, dtype, frame)
    if not np.isfinite(data).all():
        bad = int((~np.isfinite(data)).sum())
        raise ImageError(f'{path}: {bad} voxels are NaN or infinite; mend or re-export the volume')
    return data, grid, *nifti_placement(image)


def read_mask(path: Path) -> tuple[np.ndarray, Grid]:
    """Reads the mask of one anatomy as bool ``[X, Y, Z]``: set where the value is not 0.

    Raises:
        ImageError: as :func:`read_volume`; or the values are not 0 and one whole number.
    """
    data, grid = read_volume(path)
    return as_mask(data, str(path)), grid


def as_mask(data: np.ndarray, where: str) -> np.ndarray:
    """The mask of one anatomy, bool ``[X, Y, Z]``, of the values that were read ``where``.

    Raises:
        ImageError: they are not 0 and one whole number.
    """
    high = float(data.max())
    mask = data > 0.5 * high if high > 0 else np.zeros(data.shape, dtype=bool)
    far_off = np.abs(data - high * mask) > ROUNDING * abs(high)
    is_whole = abs(high - round(high)) <= ROUNDING * high and round(high) >= 1
    if far_off.any() or not (is_whole or high == 0):
        raise ImageError(f'{where}: {_not_a_mask(data)}')
    return mask


def _not_a_mask(data: np.ndarray) -> str:
    values = np.unique(data)
    listed = ', '.join(f'{v:.4g}' for v in values[:6]) + (', ...' if len(values) > 6 else '')
    if (values == np.round(values)).all() and values[0] >= 0 and len(values) < 300:
        remedy = 'if these are labels of several anatomies, write each as a mask of its own'
    else:
        remedy = 'threshold probabilities, undo scaling'
    return f'values are {listed}; a mask holds 0 and one other whole number: {remedy}'


def map_volume(path: Path) -> np.ndarray:
    """Memory-maps an uncompressed NIfTI as ``[X, Y, Z]`` of its own dtype, unscaled.

    Raises:
        ImageError: missing or unreadable.
    """
    try:
        return np.asanyarray(nibabel.load(path, mmap='r').dataobj)
    except Exception as error:  # the readers' own kinds are many
        raise ImageError(f'{path}: cannot be read ({_reason(error)}); prepare it again') from error


def volume_grid(path: Path) -> Grid:
    """The grid of an uncompressed NIfTI that was prepared, from its header.

    Raises:
        ImageError: missing or unreadable.
    """
    return Grid(map_volume(path).shape, nibabel.load(path).affine)


def volume_sizes(paths: Sequence[Path]) -> np.ndarray:
    """``[N, 3]`` voxels of uncompressed NIfTIs, from their headers."""
    return np.array([map_volume(path).shape for path in paths]).reshape(-1, 3)


def write_volume(path: Path, data: np.ndarray, grid: Grid, oriented: bool = True) -> None:
    """Writes ``data`` ``grid.shape`` with its dtype and the grid's affine (mm, scanner frame); of
    a grid that :func:`is_sheared` as sform alone.

    Args:
        oriented: false for what belongs to a scan whose header gives no orientation: the file then
            gives none either, so that every program lays the two over each other.
    """
    image = nibabel.Nifti1Image(data, grid.affine if oriented else None)
    image.header.set_xyzt_units('mm')
    if oriented:
        image.set_sform(grid.affine, code='scanner')
        # ITK prefers a qform to a sheared sform, unseen; without one it refuses the file.
        if not is_sheared(grid):
            image.set_qform(grid.affine, code='scanner', strip_shears=True)
    else:
        image.header.set_zooms(grid.spacing)
    with replacing(Path(path)) as temporary:
        nibabel.save(image, temporary)


def is_sheared(grid: Grid) -> bool:
    """Whether the axes are so far from right angles (a tilted gantry) that a qform, which knows no
    others, would misplace a corner by more than rounding."""
    header = nibabel.Nifti1Header()
    header.set_sform(grid.affine)
    header.set_qform(grid.affine, strip_shears=True)
    apart = forms_apart(header, grid.shape)
    return apart is None or apart > APART_MM


def _read(
    path: Path, dtype: type | None, frame: int | None
) -> tuple[nibabel.Nifti1Image, np.ndarray, Grid]:
    path = Path(path)
    if not path.is_file():
        raise ImageError(f'{path}: no such file; check the path')
    try:
        image, data = _content(path)
    except ImageError:
        raise
    except Exception as error:  # whatever the readers raise, the file is what is wrong
        raise ImageError(
            f'{path}: cannot be read as NIfTI ({_reason(error)}); export or copy it again'
        ) from error
    if data.dtype.kind not in 'iufb':
        raise ImageError(f'{path}: voxels are {data.dtype}, not numbers; convert it to greyscale')
    if frame is not None:
        data = _frame(path, data, frame)
    data = one_volume(data, str(path))
    try:
        return image, data.astype(dtype or data.dtype), Grid(data.shape, affine_mm(image))
    except ImageError as error:
        raise ImageError(f'{path}: {error}') from error


def one_volume(data: np.ndarray, where: str) -> np.ndarray:
    """``[X, Y, Z]`` of an image that was read ``where``: without further axes of one frame.

    Raises:
        ImageError: it is not one volume.
    """
    while data.ndim > 3 and data.shape[-1] == 1:
        data = data[..., 0]
    if data.ndim != 3:
        raise ImageError(f'{where}: the volume is {data.shape}, not 3D; {ONE_VOLUME}')
    return data


def _frame(path: Path, data: np.ndarray, frame: int) -> np.ndarray:
    frames = data.reshape(*data.shape[:3], -1)
    if frame >= frames.shape[-1]:
        raise ImageError(
            f'{path}: the volume is {data.shape} and has no frame {frame}, counted from 0; take '
            'another, or put the file of all frames there'
        )
    return frames[..., frame]


def _content(path: Path) -> tuple[nibabel.Nifti1Image, np.ndarray]:
    """The image and its voxels, scaled."""
    if not path.name.lower().endswith('.gz'):
        image = nibabel.load(path)
        _check_memory(path, image.shape)
        return image, np.asanyarray(image.dataobj)
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
        return image, data


def affine_mm(image: nibabel.Nifti1Image) -> np.ndarray:
    """``[4, 4]``: voxel index to patient mm (RAS+), whatever unit of length the header names."""
    affine = np.array(image.affine, dtype=np.float64)
    if isinstance(image, NIFTI):
        affine[:3] *= millimetres(image.header)
    return affine


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
