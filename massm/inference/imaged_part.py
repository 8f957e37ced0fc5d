"""What of a volume was imaged, and what was padded onto it."""

from dataclasses import dataclass

import numpy as np

from massm.cohort.field_of_view import cut_planes, imaged_extent
from massm.shape.surface import voxelise
from massm.structures import Grid, Mesh
from massm.structures.grid import in_field_of_view


@dataclass(frozen=True, eq=False)
class ImagedPart:
    """From plane ``low`` to plane ``high`` of ``grid`` along each axis, ``[3]`` each."""

    grid: Grid
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, volume: np.ndarray, grid: Grid) -> 'ImagedPart':
        """Of ``volume`` ``grid.shape``: without planes of one value at its ends."""
        return cls(grid, *imaged_extent(volume))

    def bounding(self, mesh: Mesh) -> 'ImagedPart':
        """The same as far as it cuts an anatomy with the surface ``mesh`` (patient mm), as
        :func:`massm.cohort.field_of_view.cut_planes` has it; elsewhere up to the volume's edge."""
        first, last = np.zeros(3, dtype=int), np.array(self.grid.shape) - 1
        reached = self.grid.to_voxel(mesh.vertices)
        inside = (reached.min(0) > self.low).all() and (reached.max(0) < self.high).all()
        if inside or ((self.low == first).all() and (self.high == last).all()):
            return ImagedPart(self.grid, first, last)
        cut = cut_planes(voxelise(mesh, self.grid), self.low, self.high)
        low, high = np.where(cut[:, 0], self.low, first), np.where(cut[:, 1], self.high, last)
        return ImagedPart(self.grid, low, high)

    def shows(self, points_mm: np.ndarray) -> np.ndarray:
        """``[N]`` bool: which of ``points_mm`` ``[N, 3]`` (patient) lie over an imaged voxel."""
        points = self.grid.to_voxel(points_mm) - self.low
        return in_field_of_view(points, self.high - self.low + 1)
