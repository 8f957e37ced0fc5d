import numpy as np
import pytest

from massm.errors import ShapeError
from massm.shape.group_difference import group_difference
from massm.shape.pdm import PointDistributionModel
from massm.shape.quality import judging_model, measure, outliers, suspected_swaps
from massm.shape.surface_coordinates import even_coordinates, locate
from massm.shape.surface_warp import SurfaceWarp


def test_good_particles_measure_well_and_swapped_ones_are_seen(blob):
    particles = even_coordinates(blob, 200).on(blob.vertices)
    warp = SurfaceWarp(blob.vertices, particles)
    good = measure(particles, blob, blob, warp, particles)
    assert good.surface_distance_mm < 1e-3 and good.swaps == 0 and good.folded == 0
    assert good.particle_distance_mm < 1e-4
    swapped = particles.copy()
    far = int(np.argmax(np.linalg.norm(particles - particles[0], axis=1)))
    swapped[[0, far]] = swapped[[far, 0]]
    assert set(np.flatnonzero(suspected_swaps(swapped, particles))) == {0, far}
    bad = measure(swapped, blob, blob, warp, particles)
    assert bad.swaps == 2 and bad.folded > 0.005


def test_points_are_even_and_stay_on_their_triangles(blob):
    places = even_coordinates(blob, 300)
    assert np.allclose(places.weights.sum(1), 1) and (places.weights >= 0).all()
    points = places.on(blob.vertices)
    assert np.allclose(places.matrix(len(blob.vertices)) @ blob.vertices, points)
    assert np.allclose(locate(points, blob).on(blob.vertices), points, atol=1e-4)
    with pytest.raises(ShapeError, match='at least 4'):
        even_coordinates(blob, 3)


def test_the_odd_shape_is_an_outlier(rng):
    world = rng.normal(size=(40, 30, 3)) @ np.diag([3, 1, 1])
    assert outliers(world)[1].sum() == 0
    world[7] *= 4
    assert list(np.flatnonzero(outliers(world)[1])) == [7]


def test_shapes_are_judged_by_modes_that_tell_them_apart(rng):
    world = rng.normal(size=(12, 30, 3))
    whole = PointDistributionModel.fit(world)
    assert whole.mahalanobis(world) == pytest.approx([11 / np.sqrt(12)] * 12)
    judging = judging_model(whole, 12)
    assert len(judging) == 4 and np.ptp(judging.mahalanobis(world)) > 0.5
    assert np.array_equal(judging.mahalanobis(world), outliers(world)[0])
    assert len(judging_model(PointDistributionModel.fit(world[:2]), 2)) == 0


def test_group_difference_finds_a_shift_and_no_shift(rng):
    first, second = rng.normal(size=(2, 15, 40, 3))
    same = group_difference(first, second, 500)
    assert same.p_value > 0.05 and same.sizes == (15, 15)
    second[:, :5, 0] += 3
    found = group_difference(first, second, 500)
    assert found.p_value < 0.01
    assert (found.p_particles[:5] < 0.01).all() and (found.p_particles[5:] > 0.01).all()
    assert found.difference[:5, 0] == pytest.approx([3] * 5, abs=1.2)
    with pytest.raises(ShapeError, match='at least two'):
        group_difference(first[:1], second)


def test_p_values_are_uniform_without_a_difference(rng):
    values = [group_difference(*rng.normal(size=(2, 5, 6, 3)), 100).p_value for _ in range(120)]
    assert np.mean(np.array(values) <= 0.2) == pytest.approx(0.2, abs=0.1)
