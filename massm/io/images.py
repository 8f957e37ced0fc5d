"""A scan from whatever it comes in: NIfTI, NRRD, MetaImage, a DICOM folder or zip."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from massm.errors import ImageError
from massm.io import dicom, itk, nifti
from massm.io.archives import unpack
from massm.io.detached import ITK_SUFFIXES
from massm.io.placement import itk_placement
from massm.structures import Grid
from massm.structures.modality import DEFAULT_MODALITY

NIFTI_SUFFIXES = ('.nii', '.nii.gz')
VOLUME_SUFFIXES = (*NIFTI_SUFFIXES, *ITK_SUFFIXES)
SUFFIXES = (*VOLUME_SUFFIXES, '.zip')
# Of a CT: where air and soft tissue are, HU, and the least share of the voxels there.
AIR_RANGE, TISSUE_RANGE, CT_SHARE = (-1100.0, -850.0), (-200.0, 200.0), 0.01


@dataclass(frozen=True, eq=False)
class Scan:
    """``volume`` ``grid.shape`` float32 (HU, or an MR's own values), its ``grid``, and what is odd
    about it. ``slices``: the files of a DICOM folder, in the order of the last axis. ``oriented``:
    whether results may say how it lies in the patient; not where a NIfTI does not, whose grid is a
    guess that other programs share only for a header that says nothing either. ITK's guess of NRRD
    and MetaImage is one that a NIfTI with an orientation alone can say. ``series``: the UID of what
    was DICOM."""

    volume: np.ndarray
    grid: Grid
    warnings: tuple[str, ...] = ()
    slices: tuple[Path, ...] = ()
    oriented: bool = True
    series: str | None = None


def read_scan(
    path: Path, series: str | int | None = None, modality: str = DEFAULT_MODALITY
) -> Scan:
    """Reads a scan.

    Args:
        path: a file, a folder of DICOM slices or a zip of one.
        series: which DICOM series (the UID or its end) where a folder holds several, or which
            frame (a number, from 0) of a NIfTI file of several.
        modality: what it has to be.

    Raises:
        ImageError: missing, unreadable, broken, not three-dimensional, not numbers, constant, of
            the other modality, or a frame is wanted of DICOM.
    """
    path = Path(path)
    name = path.name.lower()
    if not path.exists():
        raise ImageError(f'{path}: no such file or folder; check the path')
    slices: list[Path] = []
    oriented, uid = True, None
    if path.is_dir():
        uid_end = _uid_end(series, path)
        volume, grid, notes, slices = dicom.read_series(path, uid_end, modality=modality)
        uid = dicom.series_uid(slices[0])
    elif name.endswith('.zip'):
        with tempfile.TemporaryDirectory() as folder:
            unpack(path, Path(folder))
            volume, grid, notes, files = dicom.read_series(
                Path(folder), _uid_end(series, path), str(path), modality
            )
            uid = dicom.series_uid(files[0])
    elif name.endswith(NIFTI_SUFFIXES):
        volume, grid, oriented, notes = nifti.read_placed(
            path, frame=series if isinstance(series, int) else None
        )
    elif name.endswith(ITK_SUFFIXES):
        volume, grid = itk.read_volume(path)
        _, notes = itk_placement(path)
    else:
        known = ', '.join(SUFFIXES)
        raise ImageError(f'{path}: not a kind of image known here; give {known} or a DICOM folder')
    warnings = (*notes, *look_at(str(path), volume, grid, modality))
    return Scan(volume, grid, warnings, tuple(slices), oriented, uid)


def _uid_end(series: str | int | None, path: Path) -> str | None:
    """``series`` where it names one of DICOM and no frame."""
    if series is not None and not isinstance(series, str):
        raise ImageError(
            f'{path}: {series} is the number of a frame, which DICOM has not; name the series by '
            'its UID or the end of it, as text'
        )
    return series


def read_labels(path: Path) -> tuple[np.ndarray, Grid, bool]:
    """Reads a mask or a label map ``[X, Y, Z]`` in the file's own kind of numbers, with its grid
    and whether the header orients it.

    Raises:
        ImageError: missing, unreadable, of no kind known here, not 3D, or not finite.
    """
    name = path.name.lower()
    if name.endswith(NIFTI_SUFFIXES):
        return nifti.read_placed(path, dtype=None)[:3]
    if not name.endswith(ITK_SUFFIXES):
        known = ', '.join(VOLUME_SUFFIXES)
        raise ImageError(f'{path}: not a kind of volume known here; give {known}')
    if not path.is_file():
        raise ImageError(f'{path}: no such file; check the path')
    return *itk.read_volume(path, dtype=None), itk_placement(path)[0]


def look_at(source: str, volume: np.ndarray, grid: Grid, modality: str) -> list[str]:
    """What is odd about a scan, wherever it came from.

    Args:
        source: what to call it.

    Raises:
        ImageError: it is none, or a CT where an MR is wanted.
    """
    check_extent(source, volume, grid)
    if modality == 'mr':
        check_no_ct(source, volume)
        return odd_geometry(grid)
    return [*odd_values(volume), *odd_geometry(grid)]


def is_scan(path: Path) -> bool:
    """Whether a file's name says that it is one of the images read here; hidden files, such as
    macOS lays beside every file on a foreign disk (``._ct.nii.gz``), are none."""
    return path.name.lower().endswith(SUFFIXES) and not path.name.startswith('.')


def scan_name(path: Path) -> str:
    """A scan's file or folder name without what says its kind."""
    ending = max((s for s in SUFFIXES if path.name.lower().endswith(s)), key=len, default='')
    return path.name[: len(path.name) - len(ending)] or 'image'


def check_extent(path: str, volume: np.ndarray, grid: Grid) -> None:
    """Refuses what cannot be a scan of a body.

    Raises:
        ImageError: not 3D, not finite, constant, or smaller than 20 mm along an axis.
    """
    if volume.shape != grid.shape:
        raise ImageError(f'{path}: the volume is {volume.shape}, its grid {grid.shape}')
    if not np.isfinite(volume).all():
        raise ImageError(f'{path}: voxels are NaN or infinite; mend or re-export the volume')
    if volume.min() == volume.max():
        raise ImageError(f'{path}: every voxel is {volume.flat[0]:g}; export the image again')
    extent = grid.spacing * grid.shape
    if extent.min() < 20:
        raise ImageError(
            f'{path}: the field of view is {" x ".join(f"{e:.1f}" for e in extent)} mm; at least '
            '20 mm an axis are needed, check the voxel size or give the whole volume'
        )


def check_no_ct(path: str, volume: np.ndarray) -> None:
    """Refuses a CT where an MR is wanted.

    Raises:
        ImageError: there is air at -1000 HU and soft tissue around 0.
    """
    few = volume[::3, ::3, ::3]
    shares = [((few > low) & (few < high)).mean() for low, high in (AIR_RANGE, TISSUE_RANGE)]
    if volume.min() < -500 and min(shares) > CT_SHARE:
        raise ImageError(
            f'{path}: is a CT by its values (air at -1000, soft tissue around 0), and this is for '
            'MR; use a model for CT, or prepare with --modality ct'
        )


def odd_values(volume: np.ndarray) -> list[str]:
    """What does not look like Hounsfield units."""
    low, middle, high = np.percentile(volume[::3, ::3, ::3], [1, 50, 99])
    if low >= 0 and 800 < middle < 1300:
        return ['values look shifted by 1024 (air at 0): apply the rescale intercept']
    if low > -150:
        return [
            f'no air in the image (first percentile {low:.0f}): not in HU, or not a CT; results '
            'are not to be trusted'
        ]
    if high > 5000 or low < -4000:
        return [f'values from {low:.0f} to {high:.0f} are outside the range of HU']
    return []


def odd_geometry(grid: Grid) -> list[str]:
    """What makes surfaces less sure."""
    notes = []
    axes = grid.affine[:3, :3] / grid.spacing
    if np.abs(axes.T @ axes - np.eye(3)).max() > 0.01:
        notes.append('the voxel axes are not at right angles (gantry tilt): resampled')
    if grid.spacing.max() > 5.5:
        notes.append(f'slices {grid.spacing.max():.1f} mm apart: small anatomies are not reliable')
    return notes
