import numpy as np
import pytest

from massm.errors import ShapeError
from massm.shape.repair import repair_surface
from massm.structures import Mesh


def joined(*meshes: Mesh) -> Mesh:
    offsets = np.cumsum([0] + [len(m.vertices) for m in meshes[:-1]])
    faces = [m.faces + o for m, o in zip(meshes, offsets, strict=True)]
    return Mesh(np.concatenate([m.vertices for m in meshes]), np.concatenate(faces))


def test_a_good_surface_is_left_alone(blob):
    mended, remarks = repair_surface(blob)
    assert mended is blob and remarks == []


def test_inward_triangles_are_turned(blob):
    mended, remarks = repair_surface(Mesh(blob.vertices, blob.faces[:, ::-1]))
    assert mended.volume() == pytest.approx(blob.volume()) and 'inwards' in remarks[0]


def test_doubled_vertices_are_joined(blob):
    soup = Mesh(blob.vertices[blob.faces.ravel()], np.arange(3 * len(blob.faces)).reshape(-1, 3))
    mended, remarks = repair_surface(soup)
    assert len(mended.vertices) == len(blob.vertices) and 'joined' in remarks[0]


def test_a_small_second_part_is_dropped_and_a_large_one_refused(sphere, blob):
    crumb = sphere.with_vertices(sphere.vertices * 0.05 + 60)
    mended, remarks = repair_surface(joined(blob, crumb))
    assert mended.volume() == pytest.approx(blob.volume()) and 'of 2 parts' in remarks[0]
    with pytest.raises(ShapeError, match='2 parts'):
        repair_surface(joined(blob, sphere.with_vertices(sphere.vertices + 100)))


def test_a_small_hole_is_closed_and_an_open_surface_refused(sphere):
    holed = Mesh(sphere.vertices, np.delete(sphere.faces, [200, 201, 202, 203], axis=0))
    mended, remarks = repair_surface(holed)
    assert mended.volume() == pytest.approx(sphere.volume(), rel=0.01) and 'closed' in remarks[-1]
    bowl = sphere.faces[(sphere.vertices[sphere.faces][:, :, 2] < 0).all(1)]
    with pytest.raises(ShapeError, match='open'):
        repair_surface(Mesh(sphere.vertices, bowl))


def test_a_third_triangle_on_an_edge_is_removed(sphere):
    a, b, _ = sphere.faces[300]
    fin = Mesh(
        np.vstack([sphere.vertices, sphere.vertices[a] * 1.2]),
        np.vstack([sphere.faces, [a, b, len(sphere.vertices)]]),
    )
    mended, remarks = repair_surface(fin)
    assert mended.volume() == pytest.approx(sphere.volume(), rel=0.01) and remarks


def test_flat_and_tiny_surfaces_are_refused(sphere):
    with pytest.raises(ShapeError, match='volume'):
        repair_surface(sphere.with_vertices(sphere.vertices * (1, 1, 0)))
    with pytest.raises(ShapeError, match='triangles'):
        repair_surface(Mesh(np.eye(3), np.array([[0, 1, 2]])))
