import math

import pytest
import torch

from massm.models.losses.focal_heatmap import HeatmapFocalLoss, heatmap_focal
from massm.models.losses.focal_regression import FocalRegressionLoss, focal_regression


def test_focal_regression_against_hand_worked_numbers():
    """e=0.2 sits at the gate's centre: half of e². a=0 gives half everywhere."""
    assert focal_regression(torch.tensor(0.2)).item() == pytest.approx(0.02)
    assert focal_regression(torch.tensor(-1.0)).item() == pytest.approx(1 / (1 + math.exp(-8)))
    assert focal_regression(torch.tensor(3.0), a=0).item() == pytest.approx(4.5)
    assert focal_regression(torch.tensor(1e4)).item() == pytest.approx(1e8)


def test_heatmap_loss_against_hand_worked_numbers():
    """Two cells, p = 0.8 at the peak and p = 0.3 where H = 0.5."""
    p, target = torch.tensor([0.8, 0.3]), torch.tensor([1.0, 0.5])
    logits = torch.log(p / (1 - p))
    loss = heatmap_focal(logits, target, torch.tensor([True, True]))
    assert loss[0].item() == pytest.approx(-(0.2**3) * math.log(0.8), rel=1e-4)
    assert loss[1].item() == pytest.approx(-(0.5**4) * 0.3**3 * math.log(0.7), rel=1e-4)


def test_heatmap_loss_is_summed_over_peaks_and_masked():
    logits = torch.zeros(1, 2, 1, 1, 2)
    target = torch.tensor([[1.0, 0], [1.0, 0]]).view(1, 2, 1, 1, 2)
    mask = torch.tensor([True, False]).view(1, 2, 1, 1, 1)
    one = 0.125 * math.log(2)
    assert HeatmapFocalLoss()(logits, target, mask).item() == pytest.approx(2 * one, rel=1e-5)
    nobody = HeatmapFocalLoss()(logits, target * 0, mask)
    assert nobody.item() == pytest.approx(2 * one, rel=1e-5)


def test_masked_rows_have_no_gradient_and_may_hold_anything():
    predicted = torch.tensor([[[1.0, 1, 1], [5, 5, 5]]], requires_grad=True)
    target = torch.tensor([[[0.0, 0, 0], [float('nan')] * 3]])
    loss = FocalRegressionLoss()(predicted, target, torch.tensor([[True, False]]))
    loss.backward()
    assert loss.item() == pytest.approx(1 / (1 + math.exp(-8)))
    assert predicted.grad[0, 1].abs().sum() == 0 and predicted.grad[0, 0].abs().sum() > 0


def test_extreme_errors_stay_finite():
    error = torch.tensor([0.0, 1e-20, 1e6, -1e6], requires_grad=True)
    focal_regression(error).sum().backward()
    assert error.grad.isfinite().all()
