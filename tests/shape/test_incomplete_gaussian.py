import numpy as np

from massm.shape.incomplete_gaussian import fit_incomplete_gaussian

ROOT = np.array([[2.0, 0, 0], [1.5, 1, 0], [0.5, -1, 0.5]])
MEAN = np.array([3.0, -1, 7])


def rows(count, seed=0):
    return MEAN + np.random.default_rng(seed).normal(size=(count, 3)) @ ROOT.T


def test_complete_rows_give_the_sample_mean_and_covariance():
    full = rows(500)
    mean, covariance = fit_incomplete_gaussian(full, std=1.0, strength=0.0)
    assert np.allclose(mean, full.mean(0))
    assert np.allclose(covariance, np.cov(full.T, bias=True))


def test_what_is_missing_is_told_by_what_is_not():
    full = rows(4000)
    gone = full.copy()
    # The third value is there only where the first is high: its plain mean would be wrong.
    gone[full[:, 0] < MEAN[0], 2] = np.nan
    mean, covariance = fit_incomplete_gaussian(gone, std=1.0, strength=1.0)
    assert np.allclose(mean, MEAN, atol=0.1)
    assert np.allclose(covariance, ROOT @ ROOT.T, atol=0.3)
    assert abs(np.nanmean(gone[:, 2]) - MEAN[2]) > 0.3


def test_few_rows_are_drawn_towards_what_was_expected():
    mean, covariance = fit_incomplete_gaussian(rows(2), std=5.0, strength=4.0)
    assert np.linalg.eigvalsh(covariance).min() > 25 * 4 / 6 - 1e-6
    assert np.isfinite(mean).all()


def test_a_value_that_no_row_has_is_as_uncertain_as_expected():
    lonely = rows(50)
    lonely[:, 1] = np.nan
    mean, covariance = fit_incomplete_gaussian(lonely, std=5.0, strength=4.0)
    assert mean[1] == 0
    assert np.isclose(covariance[1, 1], 25, rtol=0.01)
