import torch

from massm.models.dense_heads.segmentation_head import SegmentationHead, voxels_of_cells


def head():
    torch.manual_seed(0)
    return SegmentationHead(2, 8, 2, feat_channels=8)


def ball(shape=(2, 2, 12, 10, 8)):
    grid = torch.stack(torch.meshgrid(*[torch.arange(n) for n in shape[2:]], indexing='ij'), -1)
    inside = (grid - torch.tensor([5, 5, 4])).square().sum(-1) < 9
    return inside.float().expand(shape).clone()


def test_cells_are_laid_out_as_their_voxels():
    voxels = torch.randn(2, 3, 8, 6, 4)
    parts = voxels.unflatten(4, (-1, 2)).unflatten(3, (-1, 2)).unflatten(2, (-1, 2))
    gathered = parts.permute(0, 1, 3, 5, 7, 2, 4, 6).flatten(1, 4)
    assert torch.equal(voxels_of_cells(gathered, 2), voxels)


def test_logits_lie_on_the_voxels():
    assert head()([torch.randn(2, 8, 6, 5, 4)]).shape == (2, 2, 12, 10, 8)


def test_the_true_mask_costs_least():
    truth, sizes = ball(), torch.tensor([[12, 10, 8]] * 2)
    labelled = torch.ones(2, 2, dtype=torch.bool)
    right = head().loss(20 * (truth - 0.5), truth, labelled, sizes)
    none = head().loss(torch.full_like(truth, -10.0), truth, labelled, sizes)
    moved = head().loss(20 * (truth.roll(2, 2) - 0.5), truth, labelled, sizes)
    assert right < 0.01 and moved > right + 0.2 and none > moved


def test_nothing_found_of_an_absent_anatomy_costs_nothing():
    nothing = torch.zeros(2, 2, 12, 10, 8)
    labelled = torch.ones(2, 2, dtype=torch.bool)
    sizes = torch.tensor([[12, 10, 8]] * 2)
    assert head().loss(nothing - 20, nothing, labelled, sizes) < 1e-3
    assert head().loss(nothing + 20, nothing, labelled, sizes) > 0.9


def test_what_nobody_contoured_and_padding_teach_nothing():
    truth, sizes = ball(), torch.tensor([[12, 10, 8], [8, 10, 8]])
    labelled = torch.tensor([[True, False], [True, True]])
    logits = torch.zeros_like(truth, requires_grad=True)
    head().loss(logits, truth, labelled, sizes).backward()
    assert logits.grad[0, 0].abs().min() > 0
    assert logits.grad[0, 1].abs().max() == 0
    assert logits.grad[1, :, 8:].abs().max() == 0
    assert logits.grad[1, :, :8].abs().min() > 0
