"""What the network sees of a scan: the patient's body, on a grid that lies still in the patient."""

import numpy as np
import psutil

from massm.cohort.resample import resample
from massm.errors import ImageError
from massm.structures import Grid
from massm.structures.grid import CELL

BODY_HU = -500.0
SMALLEST_SECTION_MM2 = 400.0
BYTES_PER_VOXEL = 4 * 8


def working_volume(volume: np.ndarray, grid: Grid, spacing: float) -> tuple[np.ndarray, Grid]:
    """Resamples a scan onto its working grid and crops it to the body.

    The same patient falls on the same cells with the same air around, whatever grid the scan is
    stored in (docs/decisions/working-grid.md).

    Args:
        volume: ``grid.shape``, HU.
        spacing: of the working grid, mm.

    Returns:
        ``[X, Y, Z]`` float32 HU and its grid.
    """
    whole = grid.working(spacing)
    hu = resample(volume, grid, whole)
    low, high = body_extent(hu, spacing)
    low = low // CELL * CELL
    return hu[tuple(slice(a, b) for a, b in zip(low, high, strict=True))], whole.cropped(low, high)


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


def body_extent(hu: np.ndarray, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """First and one past the last plane along each axis with at least 4 cm² above -500 HU; all of
    the volume where there is none.

    Args:
        hu: ``[X, Y, Z]``.
        spacing: mm, isotropic.
    """
    body = hu > BODY_HU
    low, high = [], []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        section = np.count_nonzero(body, axis=others) * spacing**2
        planes = np.flatnonzero(section >= SMALLEST_SECTION_MM2)
        low.append(planes[0] if len(planes) else 0)
        high.append(planes[-1] + 1 if len(planes) else hu.shape[axis])
    return np.array(low), np.array(high)
