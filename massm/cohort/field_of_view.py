"""Where a scan ends: the file's edge, and empty space padded onto it."""

import numpy as np
from scipy.ndimage import (
    binary_erosion,
    binary_propagation,
    distance_transform_edt,
    gaussian_filter,
)

from massm.structures import Grid
from massm.structures.grid import in_field_of_view

EMPTY_HU = -950.0
OPENING_MM = 12.0
REACH_VOXELS = 2.0
CUT_SHARE = 0.03
CUT_SECTION = 0.25
# Voxels that a smoothed surface may lie outside of a volume whose size was rounded.
JUT_VOXELS = 1.0


def outside_scan(hu: np.ndarray, spacing: float) -> np.ndarray:
    """Empty space around the patient, including what lies beyond the volume.

    Air (below -950 HU once smoothed) connected to the volume's edge, opened with a ball of 12 mm so
    that airways which leave through the edge do not count.

    Args:
        hu: ``[X, Y, Z]``.
        spacing: mm, isotropic.

    Returns:
        ``[X + 2, Y + 2, Z + 2]`` bool: the volume with a border of one voxel, which is outside.
    """
    air = np.pad(gaussian_filter(hu.astype(np.float32), 0.7) < EMPTY_HU, 1, constant_values=True)
    border = np.zeros_like(air)
    for axis in range(3):
        np.moveaxis(border, axis, 0)[[0, -1]] = True
    connected = binary_propagation(border, mask=air)
    radius = OPENING_MM / spacing
    # Space goes on beyond the border: give it room, so that a thin empty slab at the edge survives.
    room = int(np.ceil(radius)) + 1
    wide = np.pad(connected, room, constant_values=True)
    core = distance_transform_edt(wide) > radius
    opened = (distance_transform_edt(~core) <= radius) & wide
    return opened[room:-room, room:-room, room:-room]


def is_cut(mask: np.ndarray, outside: np.ndarray) -> bool:
    """Whether at least 3 % of the surface voxels of ``mask`` lie within two voxels of the outside
    of the scan, given as :func:`outside_scan` does."""
    padded = np.pad(mask, 1)
    surface = padded & ~binary_erosion(padded)
    near = distance_transform_edt(~outside) <= REACH_VOXELS
    return bool(near[surface].mean() >= CUT_SHARE) if surface.any() else False


def outside_volume(shape: tuple[int, ...]) -> np.ndarray:
    """As :func:`outside_scan` for an MR, whose dark voxels may be bone, gas or a stripped skull:
    what lies beyond the volume alone."""
    return np.pad(np.zeros(shape, dtype=bool), 1, constant_values=True)


def imaged_extent(volume: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last plane along each axis, ``[3]`` each, that hold more than one value; planes of
    one value at the ends were padded onto the scan."""
    low, high = np.zeros(3, dtype=int), np.array(volume.shape) - 1
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        varies = np.flatnonzero(volume.min(others) != volume.max(others))
        if len(varies):
            low[axis], high[axis] = varies[0], varies[-1]
    return low, high


def ends_with_scan(mask: np.ndarray, low: np.ndarray, high: np.ndarray) -> bool:
    """Whether the scan, which was imaged from plane ``low`` to plane ``high``, cuts an anatomy
    (:func:`cut_planes`)."""
    return bool(cut_planes(mask, low, high).any())


def cut_planes(mask: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """``[3, 2]`` bool: whether an anatomy is cut by the first and by the last plane along each axis
    that were imaged, ``low`` and ``high``: its section there is at least a quarter of its largest
    between them. Where planes were not padded the volume's own edge decides
    (:func:`massm.shape.reconstruction.touches_edge`); a tip that ends where the tissue does, as a
    brain's without its skull, is whole."""
    cut = np.zeros((3, 2), dtype=bool)
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        section = np.count_nonzero(mask, axis=others)
        least = CUT_SECTION * section[low[axis] : high[axis] + 1].max()
        for end, (plane, edge) in enumerate(((low[axis], 0), (high[axis], mask.shape[axis] - 1))):
            cut[axis, end] = section.any() and plane != edge and section[plane] >= least
    return cut


def juts_out(points_mm: np.ndarray, grid: Grid) -> bool:
    """Whether one of ``points_mm`` ``[N, 3]`` (patient) lies over a voxel outside of ``grid``."""
    return not in_field_of_view(grid.to_voxel(points_mm), grid.shape, JUT_VOXELS).all()
