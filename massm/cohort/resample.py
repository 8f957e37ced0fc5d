"""Resampling a volume from one grid of the patient onto another."""

import numpy as np
from scipy.ndimage import affine_transform, gaussian_filter

from massm.structures import Grid

AIR_HU = -1024.0
# Of a voxel along each axis, unlike each other so that no two ties meet.
BESIDE = (1e-3, 1.3e-3, 1.7e-3)


def resample(volume: np.ndarray, grid: Grid, target: Grid, outside: float = AIR_HU) -> np.ndarray:
    """Trilinear resampling with smoothing first where ``target`` is coarser.

    Args:
        volume: ``grid.shape``, any numeric dtype.
        outside: value where ``target`` reaches beyond the field of view.

    Returns:
        ``target.shape`` float32.
    """
    source = np.asarray(volume, dtype=np.float32)
    matrix = np.linalg.inv(grid.affine) @ target.affine
    steps = np.abs(matrix[:3, :3]).max(1)
    sigma = np.where(steps > 1.01, 0.4 * np.sqrt(np.maximum(steps**2 - 1, 0)), 0)
    if sigma.any():
        source = gaussian_filter(source, sigma, mode='nearest', truncate=3)
    if np.allclose(matrix, np.eye(4), atol=1e-6) and grid.shape == target.shape:
        return source
    # Half a voxel beyond the outer centres still belongs to the field of view: pad it in.
    padded = np.pad(source, 1, mode='edge')
    return affine_transform(
        padded,
        matrix[:3, :3],
        matrix[:3, 3] + 1,
        output_shape=target.shape,
        order=1,
        mode='constant',
        cval=outside,
    )


def resample_mask(mask: np.ndarray, grid: Grid, target: Grid) -> np.ndarray:
    """A mask on another grid: set where half of the neighbourhood is.

    Looked at a hair beside the voxels' centres: on a grid that lies half a voxel off, every voxel
    of the border is set by exactly half, and one side's must count and the other's not.
    """
    beside = np.array(target.affine)
    beside[:3, 3] = target.to_patient(np.array(BESIDE))
    nudged = Grid(target.shape, beside)
    return resample(mask.astype(np.float32), grid, nudged, outside=0.0) >= 0.5
