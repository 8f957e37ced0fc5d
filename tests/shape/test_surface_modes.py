import numpy as np
import pytest

from massm.shape.pdm import PointDistributionModel
from massm.shape.surface_modes import SurfaceModes
from massm.shape.surface_warp import SurfaceWarp


@pytest.fixture
def population(sphere, rng):
    particles = sphere.vertices[::9]
    shapes = particles * (1 + 0.1 * rng.standard_normal((6, 1, 3)))
    return PointDistributionModel.fit(shapes), SurfaceWarp(sphere.vertices, particles)


def test_moving_the_surface_is_warping_it_to_the_moved_particles(population, rng):
    model, warp = population
    modes = SurfaceModes.of(model, warp, 2)
    scores = 2 * rng.standard_normal(2)
    expected = warp.apply(model.truncate(2).instance(scores))
    assert np.abs(modes.instance(scores) - expected).max() < 1e-8
    assert modes.shares.sum() == pytest.approx(model.variances[:2].sum() / model.variances.sum())


def test_a_population_of_one_has_no_modes(population):
    model, warp = population
    alone = SurfaceModes.of(PointDistributionModel.fit(model.mean[None]), warp, 3)
    assert len(alone.displacements) == len(alone.shares) == 0
    assert np.abs(alone.instance(np.zeros(0)) - warp.apply(model.mean)).max() < 1e-9
