"""Three planes of a scan through given surfaces, as a PNG."""

import io
from dataclasses import dataclass

import matplotlib
import numpy as np
import trimesh
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from scipy.ndimage import map_coordinates

from massm.structures import Grid, Mesh

matplotlib.use('Agg')

# Axis of patient space (RAS+) a plane is normal to, the axes shown across and upwards; the letters
# of its left, right, lower and upper side.
PLANES = {
    'axial': ((2, 0, 1), 'RLPA'),
    'coronal': ((1, 0, 2), 'RLIS'),
    'sagittal': ((0, 1, 2), 'PAIS'),
}
PIXEL_MM = 1.5  # at most; a finer scan is drawn as fine as it is
LEAST_PIXEL_MM = 0.5
EDGE = [withStroke(linewidth=2, foreground='black')]  # of letters: seen on bone too


@dataclass(frozen=True, eq=False)
class Plane:
    """Middles of pixels ``points`` ``[V, U, 3]`` (patient mm), rows upwards; ``extent`` goes to the
    outer pixels' left, right, lower and upper edge."""

    points: np.ndarray
    extent: tuple[float, float, float, float]

    def of(self, volume: np.ndarray, grid: Grid, outside: float) -> np.ndarray:
        """``[V, U]`` of a volume there, ``outside`` where it has none."""
        voxels = grid.to_voxel(self.points.reshape(-1, 3)).T
        values = map_coordinates(volume, voxels, order=1, cval=outside, prefilter=False)
        return values.reshape(self.points.shape[:2])


def draw_slices(
    volume: np.ndarray,
    grid: Grid,
    meshes: list[Mesh],
    colors: np.ndarray,
    shown: tuple[float, float],
) -> bytes:
    """PNG of the axial, coronal and sagittal plane through the middle of ``meshes`` (patient mm),
    their outlines in ``colors`` ``[K, 3]``. As radiologists look: the patient's right (R) on the
    left, front (A) up or on the right, head (S) up. ``shown`` are the values of black and white."""
    vertices = np.concatenate([mesh.vertices for mesh in meshes])
    middle = (vertices.min(0) + vertices.max(0)) / 2
    corners = grid.corners_mm()
    low, high = corners.min(0), corners.max(0)
    figure = Figure(figsize=(12, 4.2), layout='constrained', facecolor='black')
    for column, (name, (plane, letters)) in enumerate(PLANES.items(), 1):
        axes = figure.add_subplot(1, 3, column)
        seen = plane_through(middle, low, high, plane, pixel_mm(grid))
        show_grey(axes, seen.of(volume, grid, shown[0]), seen.extent, shown)
        for mesh, color in zip(meshes, colors, strict=True):
            _outline(axes, mesh, middle, plane, color)
        face_patient(axes, plane, letters)
        axes.set_title(name, color='white', fontsize=11)
    png = io.BytesIO()
    figure.savefig(png, format='png', dpi=100)
    return png.getvalue()


def pixel_mm(grid: Grid) -> float:
    """How fine a scan is drawn, mm."""
    return float(np.clip(grid.spacing.min(), LEAST_PIXEL_MM, PIXEL_MM))


def plane_through(
    middle: np.ndarray, low: np.ndarray, high: np.ndarray, plane: tuple[int, int, int], pixel: float
) -> Plane:
    """The plane through ``middle`` from ``low`` to ``high``, ``[3]`` patient mm each, in pixels of
    ``pixel`` mm; ``plane`` as in :data:`PLANES`."""
    normal, right, up = plane
    across = np.arange(low[right], high[right], pixel) + pixel / 2
    along = np.arange(low[up], high[up], pixel) + pixel / 2
    points = np.empty((len(along), len(across), 3))
    points[..., normal] = middle[normal]
    points[..., right], points[..., up] = np.meshgrid(across, along)
    return Plane(points, (low[right], across[-1] + pixel / 2, low[up], along[-1] + pixel / 2))


def show_grey(axes, values: np.ndarray, extent: tuple, shown: tuple[float, float]) -> None:
    """Draws grey values; ``shown`` are those of black and white."""
    axes.imshow(
        values, cmap='gray', vmin=shown[0], vmax=shown[1], origin='lower', extent=extent,
        interpolation='bilinear',
    )  # fmt: skip


def face_patient(axes, plane: tuple[int, int, int], letters: str) -> None:
    """Turns what was drawn to how radiologists look, the patient's right on the left, with letters
    at its sides in place of numbers."""
    if plane[1] == 0:
        axes.invert_xaxis()
    axes.set_aspect('equal')
    axes.set_axis_off()
    left, right, lower, upper = letters
    style = {'color': 'white', 'fontsize': 11, 'transform': axes.transAxes, 'path_effects': EDGE}
    axes.text(0.01, 0.5, left, va='center', **style)
    axes.text(0.99, 0.5, right, va='center', ha='right', **style)
    axes.text(0.5, 0.99, upper, va='top', ha='center', **style)
    axes.text(0.5, 0.01, lower, va='bottom', ha='center', **style)


def _outline(axes, mesh: Mesh, middle: np.ndarray, plane, color) -> None:
    normal, right, up = plane
    direction = np.zeros(3)
    direction[normal] = 1
    whole = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    lines = trimesh.intersections.mesh_plane(whole, direction, middle)
    axes.add_collection(LineCollection(lines[:, :, [right, up]], colors=[color], linewidths=1.4))
