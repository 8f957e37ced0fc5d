"""Centres as means under a map: they follow the patient by parts of a cell."""

import pytest
import torch

from massm.models.dense_heads.soft_center_head import SoftCenterHead, SoftMaps

SIZES = torch.tensor([[40, 32, 36], [36, 30, 34]])
SHAPE = (2, 2, 20, 16, 18)


def bump(centers_vox, width=1.2):
    """``where`` logits that peak at ``centers_vox`` ``[B, K, 3]``, stride 2."""
    axes = torch.meshgrid(*[2.0 * torch.arange(n) for n in SHAPE[2:]], indexing='ij')
    cells = torch.stack(axes, -1)
    squares = (cells - centers_vox[:, :, None, None, None]).square().sum(-1)
    return -0.5 * squares / (2 * width) ** 2


def maps(centers_vox):
    zero = torch.zeros(SHAPE)
    return SoftMaps(bump(centers_vox), zero, zero)


@pytest.mark.parametrize('shift', [0.0, 0.3, 0.9, 1.0, 1.7])
def test_the_centre_moves_as_the_patient_does(shift):
    head = SoftCenterHead(2, 8, 2)
    center = torch.full((2, 2, 3), 14.0)
    moved = center + torch.tensor([shift, -shift, shift / 2])
    boxes, scores = head.decode(maps(moved), SIZES)
    assert torch.allclose(boxes[..., :3], moved, atol=0.1)
    assert (scores == 0.5).all()


def test_padded_cells_never_win():
    head = SoftCenterHead(2, 8, 2)
    where = torch.zeros(SHAPE)
    where[:, :, -1, -1, -1] = 50.0
    where[:, :, 5, 5, 5] = 20.0
    boxes, _ = head.decode(SoftMaps(where, torch.zeros(SHAPE), torch.zeros(SHAPE)), SIZES)
    # In the first volume the last cell is real, in the second it is padding.
    assert torch.allclose(boxes[0, :, :3], torch.tensor([38.0, 30, 34]), atol=0.1)
    assert torch.allclose(boxes[1, :, :3], torch.tensor([10.0, 10, 10]), atol=0.1)


def test_the_true_maps_cost_least_and_what_is_not_there_costs_nothing():
    head = SoftCenterHead(2, 8, 2)
    boxes = torch.tensor([[[14.0, 12, 16, 6, 6, 6]] * 2] * 2)
    has = torch.tensor([[True, True], [True, False]])
    counted = torch.ones_like(has)
    right = head.loss(maps(boxes[..., :3]), boxes, has, counted, SIZES)
    wrong = head.loss(maps(boxes[..., :3] + 6), boxes, has, counted, SIZES)
    assert right['L_o'] < wrong['L_o'] - 1
    where = bump(boxes[..., :3]).requires_grad_()
    zero = torch.zeros(SHAPE)
    head.loss(SoftMaps(where, zero, zero), boxes, has, counted, SIZES)['L_o'].backward()
    assert where.grad[1, 1].abs().sum() == 0 and where.grad[0, 1].abs().sum() > 0
