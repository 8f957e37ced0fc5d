import numpy as np

from massm.shape.distortion import rest_shape
from massm.shape.remeshing import uniform_mesh
from massm.shape.sliding import SlidingModel, slide, weighted_model
from massm.shape.surface import TargetSurface, folded_fraction, surface_distance


def squeezed(sphere):
    """The sphere's vertices crowded towards one pole, still on the sphere."""
    moved = sphere.vertices + np.array([0, 0, 12.0])
    return 20 * moved / np.linalg.norm(moved, axis=1, keepdims=True)


def edge_variation(mesh, vertices):
    areas = np.linalg.norm(mesh.with_vertices(vertices).face_vectors(), axis=1)
    rest = np.linalg.norm(mesh.face_vectors(), axis=1)
    return float(np.std(areas / rest))


def test_sliding_spreads_what_is_crowded_and_stays_on_the_surface(sphere):
    rest = rest_shape(sphere)
    model = SlidingModel(rest, weighted_model(sphere.vertices[None], rest.vertex_share), 10.0)
    start = squeezed(sphere)
    found = slide(model, start, start, TargetSurface(sphere), 30)
    assert surface_distance(found, sphere).max() < 1e-4
    assert edge_variation(sphere, found) < 0.6 * edge_variation(sphere, start)
    assert folded_fraction(sphere, found, sphere) == 0


def test_folds_are_smoothed_out(sphere, rng):
    even = uniform_mesh(sphere, 600)
    rest = rest_shape(even)
    model = SlidingModel(rest, weighted_model(even.vertices[None], rest.vertex_share), 10.0)
    target = TargetSurface(sphere)
    start = target.project(even.vertices + rng.normal(size=even.vertices.shape) * 0.9)[0]
    before = folded_fraction(even, start, sphere)
    assert before > 0.01
    found = slide(model, start, start, target, 40)
    assert folded_fraction(even, found, sphere) < 0.2 * before


def test_what_the_population_does_is_left_alone(sphere, rng):
    """Shapes that vary along one mode have almost no residual; another direction has."""
    rest = rest_shape(sphere)
    shapes = np.stack([sphere.vertices * (1 + s, 1, 1) for s in np.linspace(-0.3, 0.3, 9)])
    model = SlidingModel(rest, weighted_model(shapes, rest.vertex_share), 1.0)
    known = np.abs(model.residual(sphere.vertices * (1.2, 1, 1))).max()
    strange = np.abs(model.residual(sphere.vertices * (1, 1.2, 1))).max()
    assert known < 0.15 * strange


def test_weighted_modes_are_orthonormal_in_the_area(sphere, rng):
    rest = rest_shape(sphere)
    shapes = sphere.vertices + rng.normal(size=(5, *sphere.vertices.shape))
    model = weighted_model(shapes, rest.vertex_share)
    gram = np.einsum('avx,v,bvx->ab', model.modes, rest.vertex_share, model.modes)
    assert np.allclose(gram, np.eye(4), atol=1e-8)
