"""Making a surface fit for correspondence: closed, in one part, facing outwards. Every change is
told, and what cannot be mended without guessing is refused."""

import numpy as np
import trimesh

from massm.errors import ShapeError
from massm.structures import Mesh

LARGEST_HOLE = 0.1
SECOND_PART = 0.3


def repair_surface(mesh: Mesh) -> tuple[Mesh, list[str]]:
    """A closed manifold surface of one part.

    Args:
        mesh: as it was read, mm.

    Returns:
        The mended surface and a remark on each thing that was mended.

    Raises:
        ShapeError: there is no volume, the surface is wide open, or it has several large parts.
    """
    remarks: list[str] = []
    surface = _joined(mesh, remarks)
    surface = _largest_part(surface, remarks)
    _check_solid(surface)
    surface = _closed(surface, remarks)
    if not surface.is_winding_consistent or surface.volume < 0:
        trimesh.repair.fix_normals(surface)
        remarks.append('turned triangles that faced inwards')
    return (Mesh(surface.vertices, surface.faces), remarks) if remarks else (mesh, [])


def _check_solid(surface: trimesh.Trimesh) -> None:
    spread = np.linalg.svd(surface.vertices - surface.vertices.mean(0), compute_uv=False)
    if spread[2] < 1e-3 * spread[0]:
        raise ShapeError('the surface is flat and encloses no volume; export a closed solid')


def _joined(mesh: Mesh, remarks: list[str]) -> trimesh.Trimesh:
    surface = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    surface.merge_vertices()
    if len(surface.vertices) < len(mesh.vertices):
        doubled = len(mesh.vertices) - len(surface.vertices)
        remarks.append(f'joined {doubled} repeated or unused vertices')
    faces = surface.nondegenerate_faces() & surface.unique_faces()
    if not faces.all():
        surface.update_faces(faces)
        surface.remove_unreferenced_vertices()
        remarks.append(f'removed {int((~faces).sum())} degenerate or repeated triangles')
    if len(surface.faces) < 4:
        raise ShapeError(f'the surface has {len(surface.faces)} triangles; a closed one has 4')
    return surface


def _largest_part(surface: trimesh.Trimesh, remarks: list[str]) -> trimesh.Trimesh:
    parts = sorted(surface.split(only_watertight=False), key=lambda p: p.area, reverse=True)
    if len(parts) < 2:
        return surface
    if parts[1].area > SECOND_PART * parts[0].area:
        raise ShapeError(
            f'the surface has {len(parts)} parts, the second with {parts[1].area:.0f} mm² next to '
            f'{parts[0].area:.0f} mm²; keep the anatomy alone'
        )
    remarks.append(f'kept the largest of {len(parts)} parts')
    return parts[0]


def _closed(surface: trimesh.Trimesh, remarks: list[str]) -> trimesh.Trimesh:
    """Fills holes and removes non-manifold places (Attene 2010, through pymeshfix)."""
    edges = np.sort(surface.edges, axis=1)
    _, uses = np.unique(edges, axis=0, return_counts=True)
    if (uses == 2).all():
        return surface
    import pymeshfix

    fix = pymeshfix.MeshFix(np.asarray(surface.vertices), np.asarray(surface.faces, np.int32))
    fix.repair()
    closed = trimesh.Trimesh(np.asarray(fix.points), np.asarray(fix.faces), process=False)
    if len(closed.faces) == 0 or closed.area < (1 - LARGEST_HOLE) * surface.area:
        raise ShapeError('the surface is broken beyond repair; remesh it')
    grown = closed.area / surface.area - 1
    if grown > LARGEST_HOLE:
        raise ShapeError(
            f'the surface is open: closing it would add {100 * grown:.0f} % of its area; export '
            'the whole surface'
        )
    count = int((uses != 2).sum())
    remarks.append(f'closed holes and non-manifold places at {count} edges')
    return closed
