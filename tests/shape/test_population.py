import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from massm.shape.correspondence_model import CorrespondenceModel
from massm.shape.particles import spacing_variation
from massm.shape.population import PopulationSettings, build_population, serially
from massm.shape.surface import folded_fraction, surface_distance
from massm.shape.surface_coordinates import locate


def bent(blob, amount):
    """A known smooth deformation, and so known correspondences."""
    x, y, z = blob.vertices.T
    bend = np.stack([x * (1 + 0.12 * amount), y + 0.004 * amount * x**2, z * (1 - 0.1 * amount)], 1)
    return blob.with_vertices(bend)


@pytest.fixture(scope='module')
def population(request):
    from tests.conftest import make_blob

    blob = make_blob()
    meshes = [bent(blob, amount) for amount in (-1.0, -0.4, 0.1, 0.5, 1.0)]
    settings = PopulationSettings(100, vertices=600)
    model, shapes, medoid = build_population(meshes, settings, serially)
    return meshes, model, shapes, medoid, settings


def warped(model, shape):
    return model.surface.with_vertices(model.warp.apply(shape.local))


def test_particles_lie_on_their_surfaces_evenly_and_carry_them(population):
    meshes, model, shapes, _, _ = population
    for mesh, shape in zip(meshes, shapes, strict=True):
        assert surface_distance(shape.local, mesh).max() < 0.01
        assert spacing_variation(shape.local) < 0.12
        assert surface_distance(warped(model, shape).vertices, mesh).mean() < 0.5
        posed = mesh.with_vertices(shape.patient_to_world.apply(mesh.vertices))
        assert folded_fraction(model.surface, model.warp.apply(shape.world), posed) < 0.003


def test_particles_follow_the_true_correspondences(population):
    """Where a particle of the first shape lies by the template's triangles, it lies in every
    shape: nearer than half the spacing of the particles, some 8 mm."""
    meshes, _, shapes, _, _ = population
    places = locate(shapes[0].local, meshes[0])
    spread = [
        np.linalg.norm(places.on(mesh.vertices) - shape.local, axis=1).mean()
        for mesh, shape in zip(meshes[1:], shapes[1:], strict=True)
    ]
    assert np.mean(spread) < 2.5


def test_world_particles_are_aligned_to_their_mean(population):
    _, model, shapes, _, _ = population
    world = np.stack([s.world for s in shapes])
    assert np.allclose(world.mean(0), model.particles, atol=0.02)
    assert np.linalg.norm(model.particles.mean(0)) < 1e-6
    for shape in shapes:
        assert np.allclose(shape.patient_to_world.apply(shape.local), shape.world)


def test_the_medoid_is_the_middle_shape(population):
    assert population[3] == 2


def test_the_same_input_gives_the_same_particles(population):
    meshes, _, shapes, _, settings = population
    _, again, _ = build_population(meshes, settings, serially)
    assert all(np.array_equal(a.local, b.local) for a, b in zip(shapes, again, strict=True))


def test_a_new_shape_joins_a_fixed_model(population, tmp_path):
    meshes, model, shapes, _, _ = population
    model.save(tmp_path / 'm.npz')
    loaded = CorrespondenceModel.load(tmp_path / 'm.npz')
    known = loaded.register(meshes[3])
    assert np.linalg.norm(known.world - shapes[3].world, axis=1).mean() < 1.0
    assert surface_distance(known.local, meshes[3]).max() < 0.01


@pytest.fixture(scope='module')
def turned_population(population):
    """The medoid lies as it did, all others are turned by 14 degrees about one axis and more."""
    meshes, *_, settings = population
    rng = np.random.default_rng(0)
    turned = []
    for i, mesh in enumerate(meshes):
        angles = np.zeros(3) if i == 2 else rng.normal((14, 0, 0), 4)
        turn = Rotation.from_euler('xyz', angles, degrees=True).as_matrix()
        turned.append(mesh.with_vertices(mesh.vertices @ turn.T))
    return turned, *build_population(turned, settings, serially)


def test_world_axes_are_those_of_the_mean_patient_not_of_the_medoid(turned_population):
    _, model, shapes, medoid = turned_population
    turns = Rotation.from_matrix([s.patient_to_world.matrix[:3, :3] for s in shapes])
    assert medoid == 2 and np.degrees(turns[2].magnitude()) > 4
    assert np.degrees(turns.mean().magnitude()) < 0.5
    assert np.allclose(np.mean([s.world for s in shapes], axis=0), model.particles, atol=0.05)
    off = surface_distance(model.particles, model.surface)
    assert off.mean() < 0.5  # the mean surface came along


def test_a_new_shape_is_placed_as_training_shapes_are(turned_population):
    meshes, model, shapes, _ = turned_population
    off = [
        np.linalg.norm(model.register(mesh).local - shape.local, axis=1).mean()
        for mesh, shape in zip(meshes, shapes, strict=True)
    ]
    assert np.mean(off) < 0.6


def test_shapes_in_any_pose_end_alike(population):
    meshes, _, shapes, _, _ = population
    thrown = [
        m.with_vertices(m.vertices @ Rotation.random(random_state=i).as_matrix().T + 30 * i)
        for i, m in enumerate(meshes)
    ]
    settings = PopulationSettings(100, vertices=600, any_pose=True)
    _, found, _ = build_population(thrown, settings, serially)
    spread = [np.stack([s.world for s in group]).var(0).sum(1).mean() for group in (shapes, found)]
    assert spread[1] == pytest.approx(spread[0], rel=0.35)


def test_landmarks_pin_points(population):
    """Landmarks that say the shapes are twisted against each other must be believed."""
    meshes, _, _, _, settings = population
    marks = meshes[0].vertices[[50, 300, 700, 900]]
    places = locate(marks, meshes[0])
    wanted = [places.on(m.vertices) for m in meshes]
    shifted = list(wanted)
    turn = Rotation.from_euler('x', 8, degrees=True).as_matrix()
    shifted[4] = locate(wanted[4] @ turn.T, meshes[4]).on(meshes[4].vertices)
    model, shapes, _ = build_population(meshes, settings, serially, shifted)
    vertices = shapes[4].patient_to_world.inverse().apply(shapes[4].vertices)
    off = np.linalg.norm(model.landmark_places.on(vertices) - shifted[4], axis=1)
    free = np.linalg.norm(wanted[4] - shifted[4], axis=1)
    assert off.mean() < 0.4 * free.mean()


def test_landmarks_lay_round_shapes_over_each_other(sphere):
    """Eggs in any pose, whose surfaces do not tell their ends apart."""
    meshes, marks = [], []
    for i in range(4):
        egg = sphere.vertices * (1.6 + 0.1 * i, 1, 1)
        turn = Rotation.random(random_state=i).as_matrix()
        meshes.append(sphere.with_vertices(egg @ turn.T + 30 * i))
        marks.append(meshes[-1].vertices[[50, 300, 700, 900]])
    settings = PopulationSettings(64, any_pose=True, vertices=300, rounds=1)
    model, shapes, _ = build_population(meshes[:3], settings, serially, marks[:3])
    shapes = [*shapes, model.register(meshes[3], marks[3])]
    world = [s.patient_to_world.apply(m) for s, m in zip(shapes, marks, strict=True)]
    assert np.linalg.norm(np.array(world) - model.landmarks, axis=2).max() < 4


def test_landmarks_of_a_new_shape_are_its_own_patients(population):
    """A patient who lies elsewhere, with the landmarks where they are in that patient."""
    meshes, _, _, _, settings = population
    places = locate(meshes[0].vertices[[50, 300, 700, 900]], meshes[0])
    model, _, _ = build_population(
        meshes, settings, serially, [places.on(m.vertices) for m in meshes]
    )
    away = meshes[3].with_vertices(meshes[3].vertices + np.array([150, -80, 40]))
    shape = model.register(away, places.on(away.vertices))
    vertices = shape.patient_to_world.inverse().apply(shape.vertices)
    off = np.linalg.norm(model.landmark_places.on(vertices) - places.on(away.vertices), axis=1)
    assert off.max() < 3
    assert surface_distance(warped(model, shape).vertices, away).mean() < 0.5


def test_one_shape_is_its_own_mean(population):
    meshes = population[0]
    model, shapes, medoid = build_population(meshes[:1], PopulationSettings(64), serially)
    assert medoid == 0 and len(model.shapes) == 0
    assert np.allclose(shapes[0].world, model.particles, atol=1e-3)


def test_more_particles_than_vertices(population):
    meshes = population[0]
    count = len(meshes[0].vertices) + 500
    model, shapes, _ = build_population(
        meshes[:2], PopulationSettings(count, vertices=500), serially
    )
    assert shapes[0].local.shape == (count, 3)
    assert spacing_variation(model.particles) < 0.08
