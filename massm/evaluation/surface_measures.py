"""Surfaces against a reference mask."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from massm.io.meshes import read_mesh
from massm.io.nifti import read_mask
from massm.shape.metrics import dice, hausdorff95
from massm.shape.reconstruction import largest_part, mesh_from_mask
from massm.shape.surface import surface_distance, voxelise
from massm.structures import Grid, Mesh


@dataclass(frozen=True, eq=False)
class SurfaceReference:
    """An anatomy's reference: its surface (mm), and its mask on ``grid``."""

    mesh: Mesh
    mask: np.ndarray
    grid: Grid

    @classmethod
    def read(cls, mesh: Path, mask: Path) -> 'SurfaceReference':
        """From the dataset's files."""
        return cls(read_mesh(mesh), *read_mask(mask))

    def measure(self, mesh: Mesh) -> dict[str, float]:
        """``s2s_mask_mm`` (mean of both ways), ``hd95_mm`` and ``dice`` of ``mesh`` (mm)."""
        forward, backward = self._distances(mesh)
        return {
            's2s_mask_mm': float((forward.mean() + backward.mean()) / 2),
            'hd95_mm': hausdorff95(forward, backward),
            'dice': dice(voxelise(mesh, self.grid), self.mask),
        }

    def measure_mask(self, drawn: np.ndarray) -> dict[str, float]:
        """``dice_drawn_mask`` of what is ``drawn`` on ``grid``, shares of voxels or bool, and
        ``s2s_mask_mm_drawn_mask`` of the surface of its largest part; without one there is no
        distance."""
        inside = drawn > 0.5
        measures = {'dice_drawn_mask': dice(inside, self.mask)}
        if inside.any():
            forward, backward = self._distances(mesh_from_mask(largest_part(drawn), self.grid))
            measures['s2s_mask_mm_drawn_mask'] = float((forward.mean() + backward.mean()) / 2)
        return measures

    def _distances(self, mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
        forward = surface_distance(mesh.vertices, self.mesh)
        return forward, surface_distance(self.mesh.vertices, mesh)


def normals_near(points: np.ndarray, surface: Mesh) -> np.ndarray:
    """``[N, 3]``: the normal of ``surface`` at the vertex nearest to each of ``points``."""
    _, nearest = cKDTree(surface.vertices).query(points)
    return surface.vertex_normals()[nearest]


def split_errors(predicted: np.ndarray, true: np.ndarray, surface: Mesh) -> dict[str, float]:
    """Root mean square of the particles' errors across the true ``surface`` and along it, mm.

    What lies along a smooth surface no image shows; it is a matter of correspondence.
    """
    error = predicted - true
    normals = normals_near(true, surface)
    across = (error * normals).sum(1)
    along = error - across[:, None] * normals
    return {
        'normal_error_mm': float(np.sqrt((across**2).mean())),
        'tangential_error_mm': float(np.sqrt((along**2).sum(1).mean())),
    }
