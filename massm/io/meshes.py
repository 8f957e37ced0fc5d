"""Surface meshes on disk (PLY, STL, OBJ), through trimesh."""

from pathlib import Path

import numpy as np
import trimesh

from massm.errors import ShapeError
from massm.io.atomic import replacing
from massm.structures import Mesh


def read_mesh(path: Path) -> Mesh:
    """Reads a triangle mesh, mm. STL's repeated corners are joined.

    Raises:
        ShapeError: missing, unreadable, or without triangles.
    """
    if not Path(path).is_file():
        raise ShapeError(f'{path}: no such mesh; check the path')
    try:
        mesh = trimesh.load_mesh(path, process=False)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ShapeError(f'{path}: cannot be read as a mesh ({reason}); export it again') from error
    if not isinstance(mesh, trimesh.Trimesh) or len(mesh.faces) == 0:
        raise ShapeError(f'{path}: holds no triangles; export it as a triangle mesh')
    if Path(path).suffix.lower() == '.stl':
        mesh.merge_vertices()
    return Mesh(np.asarray(mesh.vertices), np.asarray(mesh.faces))


def write_mesh(path: Path, mesh: Mesh) -> None:
    """Writes a mesh in the format of the suffix, binary where there is one."""
    with replacing(Path(path)) as temporary:
        trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).export(temporary)
