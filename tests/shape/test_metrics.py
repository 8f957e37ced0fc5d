import numpy as np
import pytest

from massm.shape.metrics import axis_rmse, dice, hausdorff95, mean_point_error


def test_rmse_is_the_mean_of_the_axes_not_the_euclidean_error():
    """Errors (3, 0, 0) and (0, 4, 0): per axis sqrt(9/2), sqrt(16/2), 0."""
    true = np.zeros((2, 3))
    predicted = np.array([[3.0, 0, 0], [0, 4, 0]])
    assert axis_rmse(predicted, true) == pytest.approx((np.sqrt(4.5) + np.sqrt(8)) / 3)
    assert mean_point_error(predicted, true) == pytest.approx(3.5)


def test_dice_and_hausdorff():
    a = np.array([True, True, False])
    assert dice(a, np.array([True, False, False])) == pytest.approx(2 / 3)
    assert dice(a & False, a & False) == 1
    assert hausdorff95(np.arange(101.0), np.zeros(3)) == pytest.approx(95)
