"""From a mask to a smooth closed surface."""

import numpy as np
from scipy.ndimage import find_objects, label
from skimage.measure import marching_cubes

from massm.errors import ShapeError
from massm.structures import Grid, Mesh

MIN_VERTICES, MAX_VERTICES = 2500, 5000


def largest_component(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """The largest 26-connected part of a mask and the number of voxels left out."""
    labels, count = label(mask, structure=np.ones((3, 3, 3)))
    if count <= 1:
        return mask, 0
    sizes = np.bincount(labels.ravel())[1:]
    kept = labels == int(np.argmax(sizes)) + 1
    return kept, int(sizes.sum() - sizes.max())


def touches_edge(mask: np.ndarray) -> bool:
    """Whether a voxel of ``mask`` lies in the outermost layer of the volume."""
    return any(mask.take([0, -1], axis).any() for axis in range(3))


def largest_part(shares: np.ndarray) -> np.ndarray:
    """``shares`` ``[X, Y, Z]`` with 0 in all that lies inside (above one half) but in the largest
    part of it."""
    inside = shares > 0.5
    return np.where(inside & ~largest_component(inside)[0], 0, shares)


def without_holes(shares: np.ndarray) -> np.ndarray:
    """``shares`` ``[X, Y, Z]`` with 1 in the holes that what is inside (above one half) encloses;
    itself where it encloses none. A hole touches what is outside by no face of a voxel.

    Args:
        shares: with an outermost layer that is outside.
    """
    parts, count = label(shares <= 0.5)
    if count <= 1:
        return shares
    return np.where((parts > 0) & (parts != parts[0, 0, 0]), shares.dtype.type(1), shares)


def mesh_from_mask(mask: np.ndarray, grid: Grid) -> Mesh:
    """Marching cubes, Taubin smoothing (Taubin 1995) and an even number of vertices. Holes that the
    mask encloses have no surface: contours leave them out by mistake, and a shape has one side.

    Args:
        mask: ``grid.shape``, one component: bool, or the share of each voxel that is inside, whose
            surface lies between voxels where it is one half.

    Returns:
        A closed surface in patient mm, normals outwards, 2500 to 5000 vertices.

    Raises:
        ShapeError: the mask is empty.
    """
    inside = mask > 0.5
    if not inside.any():
        raise ShapeError('an empty mask has no surface')
    # What lies around the outermost voxels says how far beyond them the surface is.
    box = tuple(
        slice(max(axis.start - 1, 0), axis.stop + 1)
        for axis in find_objects(inside.astype(np.uint8))[0]
    )
    crop = without_holes(np.pad(mask[box].astype(np.float32), 1))
    vertices, faces, _, _ = marching_cubes(crop, 0.5)
    corner = np.array([axis.start - 1 for axis in box])
    mesh = Mesh(grid.to_patient(vertices.astype(np.float64) + corner), faces)
    if mesh.volume() < 0:
        mesh = Mesh(mesh.vertices, mesh.faces[:, ::-1])
    return _even_out(mesh)


def _even_out(mesh: Mesh) -> Mesh:
    surface = mesh.to_open3d().filter_smooth_taubin(20)
    while len(surface.vertices) < MIN_VERTICES:
        surface = surface.subdivide_midpoint(1).filter_smooth_taubin(5)
    if len(surface.vertices) > MAX_VERTICES:
        surface = surface.simplify_quadric_decimation(2 * MAX_VERTICES)
        surface.remove_unreferenced_vertices()
    return Mesh(np.asarray(surface.vertices), np.asarray(surface.triangles))
