"""What the network sees of a scan: the patient's body, on a grid that lies still in the patient,
in values that mean the same in every scan."""

import numpy as np
import psutil
from scipy.ndimage import gaussian_filter

from massm.cohort.intensities import MRScale, mr_scale, no_signal
from massm.cohort.resample import AIR_HU, resample
from massm.errors import ImageError
from massm.structures import Grid
from massm.structures.grid import CELL
from massm.structures.modality import DEFAULT_MODALITY, MODALITIES

BODY_HU = -500.0
# Around the signal of an MR, voxels: bone, gas and stripped skulls leave anatomies beside it.
MR_MARGIN = CELL
SMALLEST_SECTION_MM2 = 400.0
BYTES_PER_VOXEL = 4 * 8


def working_volume(
    volume: np.ndarray, grid: Grid, spacing: float, modality: str = DEFAULT_MODALITY
) -> tuple[np.ndarray, Grid]:
    """Resamples a scan onto its working grid and crops it to the body.

    The same patient falls on the same cells with the same air around, whatever grid the scan is
    stored in (docs/decisions/working-grid.md), and whatever numbers an MR is stored in.

    Args:
        volume: ``grid.shape``, HU, or an MR's own values.
        spacing: of the working grid, mm.

    Returns:
        ``[X, Y, Z]`` float32 in the modality's unit and its grid.
    """
    whole = grid.working(spacing)
    if modality == 'mr':
        values, low, high = _mr(volume, grid, whole)
    else:
        values = resample(volume, grid, whole, outside=AIR_HU)
        low, high = body_extent(values > BODY_HU, spacing)
    low = low // CELL * CELL
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    return values[box], whole.cropped(low, high)


def stored(values: np.ndarray, modality: str) -> np.ndarray:
    """A working volume as a dataset keeps it, int16: HU from -1024 to 3071; an MR in thousandths of
    its bright tissue, which is below its noise, up to ten times as bright."""
    return np.clip(np.round(values), *MODALITIES[modality].stored).astype(np.int16)


def _mr(volume: np.ndarray, grid: Grid, whole: Grid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An MR on the grid ``whole`` in its unit, and the extent of its signal."""
    dark = no_signal(volume)
    values = resample(volume, grid, whole, outside=dark)
    scale = mr_scale(values, dark)
    low, high = body_extent(_has_signal(values, scale), float(whole.spacing[0]))
    low = np.maximum(low - MR_MARGIN, 0)
    return scale.apply(values), low, np.minimum(high + MR_MARGIN, values.shape)


def _has_signal(values: np.ndarray, scale: MRScale) -> np.ndarray:
    return gaussian_filter(values, 1.0) > scale.signal


def check_memory(
    source: str, working: Grid, needed: int | None = None, available: int | None = None
) -> None:
    """Refuses a scan whose working volume would not fit, before it is made.

    Args:
        source: what to call the scan.
        needed: bytes; by default what resampling takes.
        available: bytes; by default the free memory.

    Raises:
        ImageError: with both numbers.
    """
    voxels = working.shape[0] * working.shape[1] * working.shape[2]
    needed = BYTES_PER_VOXEL * voxels if needed is None else needed
    available = psutil.virtual_memory().available if available is None else available
    if needed > available:
        raise ImageError(
            f'{source}: {"x".join(map(str, working.shape))} voxels at {working.spacing[0]:g} mm '
            f'need about {needed / 2**30:.1f} GiB, {available / 2**30:.1f} GiB are free; crop the '
            'volume, or check its voxel size'
        )


def body_extent(body: np.ndarray, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """First and one past the last plane along each axis with at least 4 cm² of the body; all of
    the volume where there is none.

    Args:
        body: ``[X, Y, Z]`` bool: above -500 HU, say.
        spacing: mm, isotropic.
    """
    low, high = [], []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        section = np.count_nonzero(body, axis=others) * spacing**2
        planes = np.flatnonzero(section >= SMALLEST_SECTION_MM2)
        low.append(planes[0] if len(planes) else 0)
        high.append(planes[-1] + 1 if len(planes) else body.shape[axis])
    return np.array(low), np.array(high)
