import json

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from massm.errors import ShapeError
from massm.shape.pdm import PointDistributionModel
from massm.shape.statistics import compactness, generalization, shape_statistics, specificity


@pytest.fixture
def world(rng):
    basis = rng.normal(size=(3, 30, 3))
    scores = rng.normal(size=(12, 3)) * (5, 2, 1)
    return rng.normal(size=(30, 3)) * 10 + np.tensordot(scores, basis, axes=1)


def test_coefficients_and_instances_are_inverse(world, rng):
    model = PointDistributionModel.fit(world)
    assert len(model) == 3
    b = rng.normal(size=(5, 3))
    assert np.allclose(model.coefficients(model.instance(b)), b)
    assert np.allclose(model.project(world), world)
    scores = model.coefficients(world)
    assert np.allclose(scores.std(0, ddof=1), 1) and np.allclose(scores.mean(0), 0)


def test_modes_are_orthonormal_and_variances_fall(world):
    model = PointDistributionModel.fit(world)
    flat = model.modes.reshape(3, -1)
    assert np.allclose(flat @ flat.T, np.eye(3))
    assert (np.diff(model.variances) <= 0).all()


def test_samples_have_the_models_covariance(world):
    model = PointDistributionModel.fit(world)
    drawn = model.sample(4000, seed=1)
    assert np.array_equal(drawn, model.sample(4000, seed=1))
    scores = model.coefficients(drawn)
    assert np.allclose(np.cov(scores.T), np.eye(3), atol=0.1)


def test_log_likelihood_is_that_of_the_normal_density(world, rng):
    model = PointDistributionModel.fit(world)
    flat = model.modes.reshape(3, -1)
    covariance = flat.T @ np.diag(model.variances) @ flat + 0.25 * np.eye(flat.shape[1])
    shape = model.sample(1)[0] + rng.normal(size=model.mean.shape) * 0.5
    true = multivariate_normal(model.mean.ravel(), covariance).logpdf(shape.ravel())
    assert model.log_likelihood(shape, noise=0.5) == pytest.approx(true)


def test_marginal_is_the_model_of_its_particles(world):
    model = PointDistributionModel.fit(world)
    few = model.marginal(np.array([3, 7, 11]))
    direct = PointDistributionModel.fit(world[:, [3, 7, 11]])
    assert np.allclose(few.variances, direct.variances)
    assert np.allclose(few.project(world[:, [3, 7, 11]]), world[:, [3, 7, 11]])


def test_posterior_is_gaussian_conditioning(world):
    model = PointDistributionModel.fit(world)
    seen, noise = np.array([0, 5]), 0.7
    flat = model.modes.reshape(3, -1)
    covariance = flat.T @ np.diag(model.variances) @ flat
    rows = (3 * seen[:, None] + np.arange(3)).ravel()
    points = world[4, seen]
    gain = covariance[:, rows] @ np.linalg.inv(
        covariance[np.ix_(rows, rows)] + noise**2 * np.eye(len(rows))
    )
    mean = model.mean.ravel() + gain @ (points - model.mean[seen]).ravel()
    posterior = model.posterior(seen, points, noise)
    assert np.allclose(posterior.mean.ravel(), mean)
    rest = covariance - gain @ covariance[rows]
    modes = posterior.modes.reshape(len(posterior), -1)
    assert np.allclose(modes.T @ np.diag(posterior.variances) @ modes, rest, atol=1e-8)
    assert np.allclose(model.reconstruct(seen, points, 1e-4)[seen], points, atol=1e-3)


def test_saved_model_comes_back(world, tmp_path):
    model = PointDistributionModel.fit(world)
    model.save(tmp_path / 'pdm.npz')
    loaded = PointDistributionModel.load(tmp_path / 'pdm.npz')
    assert np.array_equal(loaded.modes, model.modes)
    (tmp_path / 'bad.npz').write_bytes(b'no')
    with pytest.raises(ShapeError, match=r'bad\.npz'):
        PointDistributionModel.load(tmp_path / 'bad.npz')


@pytest.mark.parametrize('share', [0.5, 0.0])
def test_a_file_copied_in_part_is_told(world, tmp_path, share):
    PointDistributionModel.fit(world).save(tmp_path / 'pdm.npz')
    whole = (tmp_path / 'pdm.npz').read_bytes()
    (tmp_path / 'pdm.npz').write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ShapeError, match=r'pdm\.npz: not a shape model'):
        PointDistributionModel.load(tmp_path / 'pdm.npz')


def test_shapes_that_are_all_alike_have_no_modes(world, rng):
    """What rounding leaves of them is none, and says nothing of another shape."""
    alike = np.repeat(world[:1], 7, axis=0) + 1e-13 * rng.normal(size=(7, *world[0].shape))
    assert len(PointDistributionModel.fit(alike)) == 0
    statistics = shape_statistics(alike)
    assert statistics['generalization'] == pytest.approx([0] * 5, abs=1e-9)
    json.dumps(statistics, allow_nan=False)


def test_a_shape_that_others_all_alike_know_nothing_of_counts_with_its_whole_distance():
    world = np.zeros((4, 5, 3))
    world[3, :, 0] = 8
    assert generalization(world) == pytest.approx([2, 2])


def test_one_shape_has_a_mean_and_no_modes(world):
    model = PointDistributionModel.fit(world[:1])
    assert len(model) == 0 and np.array_equal(model.mean, world[0])


def test_statistics_against_hand_worked_numbers():
    """Shapes a, a+d, a-d along one direction: one mode, 100 % compact; leaving out an outer
    shape, the others span the line and rebuild it exactly."""
    base = np.zeros((4, 3))
    step = np.tile([0.0, 0.0, 2.0], (4, 1))
    world = np.stack([base, base + step, base - step])
    assert compactness(PointDistributionModel.fit(world)) == pytest.approx([1.0])
    assert generalization(world) == pytest.approx([0.0], abs=1e-9)
    # |z| of a normal sample of sd 2, to the nearest of -2, 0, 2: E = 0.5 for uniform phase is
    # not exact; bound it by the half distance between shapes.
    assert 0 < specificity(world, 500)[0] < 1.0
    statistics = shape_statistics(world)
    assert set(statistics) == {
        'compactness',
        'generalization',
        'generalization_shapes',
        'specificity',
    }
    assert statistics['generalization_shapes'] == 3


def test_it_is_told_how_many_shapes_of_a_large_population_are_left_out(rng):
    world = rng.normal(size=(70, 3, 3))
    assert shape_statistics(world)['generalization_shapes'] == 64
    assert shape_statistics(world[:2])['generalization_shapes'] == 0


def test_specificity_against_the_plain_definition(world):
    model = PointDistributionModel.fit(world)
    draws = np.random.default_rng(0).standard_normal((300, 3), dtype=np.float32)
    plain = []
    for k in range(1, 4):
        shapes = model.truncate(k).instance(draws[:, :k])
        all_distances = [np.linalg.norm(shapes - w, axis=-1).mean(-1) for w in world]
        plain.append(np.min(all_distances, axis=0).mean())
    assert specificity(world, 300) == pytest.approx(plain, rel=1e-3)


def test_generalization_sees_what_the_others_lack():
    world = np.zeros((3, 5, 3))
    world[0, :, 0], world[1, :, 1], world[2, :, 2] = 3, 3, 3
    assert generalization(world)[0] > 1
