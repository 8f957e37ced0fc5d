"""A voxel grid in the patient: its shape and its voxel-to-patient affine."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from massm.errors import ImageError

# Voxels along each side of a cell of the detector's map: the stride of the backbone's finest level,
# and what volumes are cut and padded to. Nothing else says 4.
CELL = 4
# Voxels of less than this share of the box that their sides would span lie in a plane.
SINGULAR = 1e-6


def in_field_of_view(points_vox: np.ndarray, shape: Any, margin: float = 0.0) -> np.ndarray:
    """``[...]``: which of ``[..., 3]`` points lie over a voxel of a volume of ``shape``, or within
    ``margin`` voxels of one."""
    last = np.asarray(shape) - 0.5
    near = (points_vox >= -0.5 - margin) & (points_vox <= last + margin)
    return np.asarray(near.all(-1))


@dataclass(frozen=True, eq=False)
class Grid:
    """Shape and affine of a volume.

    Args:
        shape: voxels along the three array axes.
        affine: ``[4, 4]``, voxel index (centres are integers) to patient mm, RAS+.

    Raises:
        ImageError: the shape is not three positive integers or the affine is not invertible.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        affine = np.array(self.affine, dtype=np.float64)
        if len(shape) != 3 or min(shape) < 1:
            raise ImageError(f'a grid needs three positive sizes, got {self.shape}')
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise ImageError('a grid needs a finite 4x4 affine; mend the file header')
        sizes = np.linalg.norm(affine[:3, :3], axis=0)
        if abs(np.linalg.det(affine[:3, :3])) <= SINGULAR * sizes.prod():
            raise ImageError('the affine is singular (an axis has zero spacing); mend the header')
        affine.setflags(write=False)
        object.__setattr__(self, 'shape', shape)
        object.__setattr__(self, 'affine', affine)

    @property
    def spacing(self) -> np.ndarray:
        """``[3]``, mm between neighbouring voxel centres along each array axis."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    @property
    def voxel_volume(self) -> float:
        """Volume of a voxel, mm³."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    def to_patient(self, points_vox: np.ndarray) -> np.ndarray:
        """``[..., 3]`` voxel indices to patient mm."""
        return points_vox @ self.affine[:3, :3].T + self.affine[:3, 3]

    def to_voxel(self, points_mm: np.ndarray) -> np.ndarray:
        """``[..., 3]`` patient mm to voxel indices."""
        inverse = np.linalg.inv(self.affine)
        return points_mm @ inverse[:3, :3].T + inverse[:3, 3]

    def corners_mm(self) -> np.ndarray:
        """``[8, 3]``, patient mm: outer corners of the field of view (voxel faces)."""
        axes = [(-0.5, n - 0.5) for n in self.shape]
        return self.to_patient(np.stack(np.meshgrid(*axes, indexing='ij'), -1).reshape(-1, 3))

    def working(self, spacing: float) -> 'Grid':
        """The RAS-aligned grid of isotropic ``spacing`` (mm) that covers this field of view.

        An oblique scan is covered by its bounding box, so that the network always sees the
        patient in the same pose. The grid begins at a multiple of :data:`CELL` voxels from the
        patient's origin, so that wherever a scan begins, it falls on the same cells.
        """
        corners = self.corners_mm()
        low, high = corners.min(0), corners.max(0)
        cell = CELL * spacing
        low = np.floor(low / cell + 1e-6) * cell
        shape = np.maximum(1, np.round((high - low) / spacing)).astype(int)
        affine = np.diag([spacing, spacing, spacing, 1.0])
        affine[:3, 3] = low + spacing / 2
        return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)

    def cropped(self, low: np.ndarray, high: np.ndarray) -> 'Grid':
        """The part from voxel ``low`` up to, not with, ``high``, ``[3]`` each."""
        affine = np.array(self.affine)
        affine[:3, 3] = self.to_patient(np.asarray(low))
        first, second, third = (int(n) for n in np.asarray(high) - low)
        return Grid((first, second, third), affine)

    def is_close(self, other: 'Grid', tolerance_mm: float = 0.01) -> bool:
        """Whether both grids have one shape and corners that agree to ``tolerance_mm``."""
        if self.shape != other.shape:
            return False
        return bool(np.abs(self.corners_mm() - other.corners_mm()).max() <= tolerance_mm)
