"""Surface meshes on disk (PLY, STL, OBJ), through Open3D."""

from pathlib import Path

import numpy as np

from massm.errors import ShapeError
from massm.io.atomic import replacing
from massm.structures import Mesh


def read_mesh(path: Path) -> Mesh:
    """Reads a triangle mesh, mm.

    Raises:
        ShapeError: missing, unreadable, or without triangles.
    """
    import open3d as o3d

    if not Path(path).is_file():
        raise ShapeError(f'{path}: no such mesh; check the path')
    with o3d.utility.VerbosityContextManager(o3d.utility.VerbosityLevel.Error):
        mesh = o3d.io.read_triangle_mesh(str(path))
    if len(mesh.triangles) == 0:
        raise ShapeError(f'{path}: holds no triangles; export it as a triangle mesh')
    return Mesh(np.asarray(mesh.vertices), np.asarray(mesh.triangles))


def write_mesh(path: Path, mesh: Mesh) -> None:
    """Writes a binary mesh in the format of the suffix."""
    import open3d as o3d

    surface = mesh.to_open3d()
    surface.compute_triangle_normals()
    with replacing(Path(path)) as temporary:
        if not o3d.io.write_triangle_mesh(str(temporary), surface, print_progress=False):
            raise ShapeError(f'{path}: cannot be written; check the suffix and the free space')
