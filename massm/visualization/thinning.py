"""Meshes with fewer vertices, for looking only."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from massm.structures import Mesh

# Triangles of one surface, and of all surfaces of a page together.
MOST, ALTOGETHER = 5000, 60000


@dataclass(frozen=True, eq=False)
class Thinned:
    """``faces`` ``[F, 3]`` over some vertices of a mesh, whose indices in it are ``kept`` ``[W]``:
    whatever the mesh's vertices carry is thinned by ``values[kept]``."""

    kept: np.ndarray
    faces: np.ndarray


def thin(mesh: Mesh, surfaces: int = 1) -> Thinned:
    """A mesh of at most :data:`MOST` triangles, fewer where ``surfaces`` of them share a page
    (quadric decimation, Garland and Heckbert 1997; then each vertex at the nearest of the mesh's
    own, where its values are known)."""
    triangles = min(MOST, ALTOGETHER // surfaces)
    if len(mesh.faces) <= triangles:
        return Thinned(np.arange(len(mesh.vertices)), np.array(mesh.faces))
    fewer = mesh.to_open3d().simplify_quadric_decimation(triangles)
    _, nearest = cKDTree(mesh.vertices).query(np.asarray(fewer.vertices))
    corners = nearest[np.asarray(fewer.triangles)]
    a, b, c = corners.T
    kept, faces = np.unique(corners[(a != b) & (b != c) & (c != a)], return_inverse=True)
    return Thinned(kept, faces.reshape(-1, 3))
