"""The most typical of a set of shapes."""

from collections.abc import Sequence

import numpy as np

from massm.shape.surface import voxelise
from massm.structures import Grid, Mesh

CELLS = 40


def middle_by_volume(meshes: Sequence[Mesh]) -> int:
    """Index of the shape of middle volume: neither giant nor dwarf, before poses are known."""
    return int(np.argsort([mesh.volume() for mesh in meshes])[len(meshes) // 2])


def choose_medoid(meshes: Sequence[Mesh]) -> int:
    """Index of the shape whose solid is nearest to the average solid.

    Args:
        meshes: closed surfaces laid over each other, mm.
    """
    low = np.min([m.vertices.min(0) for m in meshes], axis=0)
    high = np.max([m.vertices.max(0) for m in meshes], axis=0)
    spacing = float((high - low).max()) / CELLS
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = low
    x, y, z = (int(n) + 1 for n in np.ceil((high - low) / spacing))
    grid = Grid((x, y, z), affine)
    # As bits, so that thousands of shapes fit into memory.
    solids = [np.packbits(voxelise(mesh, grid)) for mesh in meshes]
    mean = sum(np.unpackbits(solid).astype(np.float32) for solid in solids) / len(solids)
    distance = [float(((np.unpackbits(solid) - mean) ** 2).sum()) for solid in solids]
    return int(np.argmin(distance))
