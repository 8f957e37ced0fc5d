"""Even triangulations: the working mesh that correspondences are computed on."""

import warnings

import numpy as np

from massm.errors import ShapeError
from massm.structures import Mesh


def uniform_mesh(mesh: Mesh, vertices: int) -> Mesh:
    """``mesh`` again with about ``vertices`` vertices and triangles of one size, by clustering it
    into centroidal Voronoi cells (Valette and Chassery 2004, through pyacvd).

    Args:
        mesh: closed, mm.
    """
    import pyacvd
    import pyvista

    faces = np.column_stack([np.full(len(mesh.faces), 3), mesh.faces])
    with warnings.catch_warnings():
        # pyacvd 0.4 uses what pyvista 0.49 is about to rename.
        warnings.simplefilter('ignore', pyvista.PyVistaDeprecationWarning)
        clustering = pyacvd.Clustering(pyvista.PolyData(mesh.vertices.copy(), faces.ravel()))
        while clustering.mesh.n_points < 12 * vertices:
            clustering.subdivide(1)
        clustering.cluster(vertices)
        remeshed = clustering.create_mesh()
    even = Mesh(np.asarray(remeshed.points), np.asarray(remeshed.faces).reshape(-1, 4)[:, 1:])
    if len(even.faces) == 0:
        raise ShapeError('the surface cannot be triangulated evenly; is it closed and in one part?')
    return even if even.volume() * mesh.volume() > 0 else Mesh(even.vertices, even.faces[:, ::-1])
