"""A scan inside a page: 8 bits, as a JPEG of its axial slices side by side."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from massm.cohort.resample import resample
from massm.structures import Grid

# Voxels of a page's scan, mm around the surfaces, and quality of the JPEG: half a megabyte.
MOST_VOXELS, MARGIN_MM, QUALITY = 1.5e6, 30.0, 75
BLOCK = 8  # pixels along each side of what a JPEG holds together: no block holds two slices


@dataclass(frozen=True, eq=False)
class GreyVolume:
    """``values`` ``[X, Y, Z]`` uint8 whose voxel (0, 0, 0) lies at ``first_mm`` ``[3]`` (patient
    mm, RAS+), the next along each axis ``spacing`` mm further."""

    values: np.ndarray
    first_mm: np.ndarray
    spacing: float

    def to_json(self) -> dict:
        """As ``scene.js`` reads it: slices from foot to head, in rows from left to right, each
        with x to the right and y downwards."""
        across, down, count = self.values.shape
        columns = int(np.ceil(np.sqrt(count * down / across)))
        rows = -(-count // columns)
        padded = np.zeros((rows * columns, down, across), dtype=np.uint8)
        padded[:count] = self.values.transpose(2, 1, 0)
        sheet = padded.reshape(rows, columns, down, across).swapaxes(1, 2)
        return {
            'shape': list(self.values.shape),
            'first': self.first_mm.round(3).tolist(),
            'spacing': round(self.spacing, 4),
            'columns': columns,
            'image': _jpeg(sheet.reshape(rows * down, columns * across)),
        }


def grey_volume(
    volume: np.ndarray,
    grid: Grid,
    vertices: np.ndarray,
    shown: tuple[float, float],
) -> GreyVolume:
    """The part of a scan around ``vertices`` ``[V, 3]`` (patient mm), along the patient's axes,
    with cubic voxels no finer than the scan's.

    Args:
        volume: ``grid.shape``.
        shown: the values of black and white.
    """
    corners = grid.corners_mm()
    low = np.maximum(corners.min(0), vertices.min(0) - MARGIN_MM)
    high = np.minimum(corners.max(0), vertices.max(0) + MARGIN_MM)
    # A surface may lie beyond the scan; of the scan, then, the nearest part is shown.
    low, high = np.minimum(low, corners.max(0) - 1), np.maximum(high, corners.min(0) + 1)
    size = np.maximum(high - low, 1.0)
    spacing = max(float(grid.spacing.min()), float(np.cbrt(size.prod() / MOST_VOXELS)))
    shape = np.maximum(2, np.ceil(size / spacing)).astype(int)
    shape[:2] = -(-shape[:2] // BLOCK) * BLOCK
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = low + spacing / 2
    target = Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)
    part, its_grid = _around(volume, grid, target)
    values = resample(part, its_grid, target, outside=shown[0])
    scaled = (values - shown[0]) / (shown[1] - shown[0]) * 255
    return GreyVolume(np.clip(np.rint(scaled), 0, 255).astype(np.uint8), affine[:3, 3], spacing)


def _around(volume: np.ndarray, grid: Grid, target: Grid) -> tuple[np.ndarray, Grid]:
    """The part of a volume that ``target`` reaches, with as much around as resampling looks at."""
    reached = grid.to_voxel(target.corners_mm())
    beside = 3 * np.ceil(target.spacing.max() / grid.spacing) + 1
    low = np.clip(np.floor(reached.min(0) - beside), 0, np.array(grid.shape) - 1).astype(int)
    high = np.clip(np.ceil(reached.max(0) + beside) + 1, low + 1, grid.shape).astype(int)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    return volume[box], grid.cropped(low, high)


def _jpeg(pixels: np.ndarray) -> str:
    """``[H, W]`` uint8 as a data URL."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, 'JPEG', quality=QUALITY)
    return f'data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}'
