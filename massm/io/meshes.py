"""Surface meshes on disk: PLY, STL, OBJ (trimesh) and VTK polydata (pyvista).

Files written here say that they are in RAS, as 3D Slicer does (``SPACE=RAS`` in PLY's and OBJ's
comments and in the headers of STL and of VTK's own format, a field ``SPACE`` in its XML): a file
that says nothing Slicer takes for LPS, and turns it. What Slicer writes says ``SPACE=LPS`` there
unless told otherwise, and becomes RAS+ here; a file that says nothing is taken as it is.
"""

from pathlib import Path

import numpy as np
import trimesh

from massm.errors import ShapeError
from massm.io.atomic import replacing
from massm.structures import Mesh

VTK_SUFFIXES = ('.vtk', '.vtp')
SUFFIXES = ('.ply', '.stl', '.obj', *VTK_SUFFIXES)
# VTK's numbers of points, lines, triangles, polygons and the like.
FLAT_CELLS = frozenset(range(1, 10))
SPACE, LPS = b'SPACE=RAS', b'SPACE=LPS'
# From LPS to RAS+: half a turn, which leaves triangles the way round that they are.
TURN = np.array([-1.0, -1.0, 1.0])
STL_HEADER = 80
# Longer than any header that says so.
HEADER_BYTES = 4096


def read_mesh(path: Path, as_stored: bool = False) -> Mesh:
    """Reads a triangle mesh, RAS+ mm. STL's repeated corners are joined; VTK's polygons are cut up.

    Args:
        as_stored: not turned to RAS+, whatever the file says of its frame: where other files give
            points in the same one.

    Raises:
        ShapeError: missing, unreadable, not finite, or without triangles.
    """
    path = Path(path)
    if not path.is_file():
        raise ShapeError(f'{path}: no such mesh; check the path')
    try:
        vertices, faces = (_read_vtk if path.suffix.lower() in VTK_SUFFIXES else _read)(path)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ShapeError(f'{path}: cannot be read as a mesh ({reason}); export it again') from error
    if len(faces) == 0:
        raise ShapeError(f'{path}: holds no triangles; export it as a triangle mesh')
    try:
        return Mesh(vertices if as_stored or not says_lps(path) else vertices * TURN, faces)
    except ValueError as error:
        raise ShapeError(f'{path}: {error}; export it again') from error


def says_lps(path: Path) -> bool:
    """Whether a mesh file says that it is in LPS."""
    if path.suffix.lower() == '.vtp':
        import pyvista

        return 'LPS' in pyvista.read(path).field_data.get('SPACE', ())
    with path.open('rb') as stream:
        return LPS in stream.read(HEADER_BYTES)


def write_mesh(path: Path, mesh: Mesh, scalars: dict[str, np.ndarray] | None = None) -> None:
    """Writes a mesh, RAS+ mm, in the format of the suffix, binary where there is one.

    Args:
        scalars: ``[V]`` values by name, one a vertex; PLY and VTK keep them, STL and OBJ cannot.
    """
    scalars = {n: np.asarray(v, dtype=np.float32) for n, v in (scalars or {}).items()}
    suffix = Path(path).suffix.lower()
    with replacing(Path(path)) as temporary:
        if suffix in VTK_SUFFIXES:
            polydata = _polydata(mesh)
            for name, values in scalars.items():
                polydata.point_data[name] = values
            if suffix == '.vtp':
                polydata.field_data['SPACE'] = ['RAS']
            polydata.save(temporary)
        else:
            whole = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
            whole.vertex_attributes.update(scalars)
            whole.export(temporary)
        temporary.write_bytes(_with_space(temporary.read_bytes(), suffix))


def _with_space(content: bytes, suffix: str) -> bytes:
    """The bytes of a mesh file, which say that it is in RAS."""
    if suffix == '.ply':
        return content.replace(b'\nelement', b'\ncomment ' + SPACE + b'\nelement', 1)
    if suffix == '.obj':
        return b'# ' + SPACE + b'\n' + content
    if suffix == '.stl':
        return SPACE.ljust(STL_HEADER, b'\0') + content[STL_HEADER:]
    if suffix == '.vtk':  # a line for the version, one for the title
        version, _, rest = content.split(b'\n', 2)
        return b'\n'.join((version, b'MASSM, mm, ' + SPACE, rest))
    return content


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    mesh = trimesh.load_mesh(path, process=False)
    if not isinstance(mesh, trimesh.Trimesh):
        return np.zeros((0, 3)), np.zeros((0, 3), dtype=int)
    if path.suffix.lower() == '.stl':
        mesh.merge_vertices()
    return np.asarray(mesh.vertices), np.asarray(mesh.faces)


def _read_vtk(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Polygons, as polydata or (as meshio writes them) as cells of an unstructured grid; of
    anything else the faces of a block would be taken for a surface."""
    import pyvista

    data = pyvista.read(path)
    is_surface = isinstance(data, pyvista.PolyData) or (
        isinstance(data, pyvista.UnstructuredGrid) and set(data.celltypes) <= FLAT_CELLS
    )
    if not is_surface:
        raise ValueError(f'holds a {type(data).__name__}, not a surface')
    surface = data.extract_surface(algorithm=None).triangulate()
    return np.asarray(surface.points, dtype=np.float64), surface.faces.reshape(-1, 4)[:, 1:]


def _polydata(mesh: Mesh):
    import pyvista

    faces = np.column_stack([np.full(len(mesh.faces), 3), mesh.faces])
    return pyvista.PolyData(mesh.vertices.copy(), faces.ravel())
