import numpy as np
import pytest
import torch

from massm.engine.shape_vae_training import pretrain_shape_vae
from massm.models import (
    CenterNet3DHead,
    CVAEWorldHead,
    LocalPDMHead,
    ParticleRefineHead,
    ProcrustesWorldHead,
)
from massm.models.dense_heads.centernet3d_head import CenterMaps
from massm.models.dense_heads.heatmap import gaussian_targets, valid_cells

SHAPE = (2, 3, 12, 8, 10)
SIZES = torch.tensor([[44, 30, 39], [40, 32, 33]])


def random_boxes(generator):
    center = torch.rand(2, 3, 3, generator=generator) * (SIZES[:, None] - 1)
    radius = 2 + 6 * torch.rand(2, 3, 3, generator=generator)
    return torch.cat([center, radius], -1)


def perfect_maps(boxes):
    """Maps a network that knows the truth would give, at the cells it would choose."""
    has = torch.ones(2, 3, dtype=torch.bool)
    target = gaussian_targets(torch.Size(SHAPE), boxes, has, SIZES, 4, 0.2)
    radius, offset = torch.zeros(2, 3, *SHAPE[2:]), torch.zeros(2, 3, *SHAPE[2:])
    for b in range(2):
        for k in range(3):
            x, y, z = np.argwhere(target[b, k].numpy() == 1)[0]
            offset[b, :, x, y, z] = boxes[b, k, :3] - 4 * torch.tensor([x, y, z])
            radius[b, :, x, y, z] = boxes[b, k, 3:]
    return CenterMaps(torch.logit(target, eps=1e-4), radius, offset)


def test_decode_inverts_encode():
    for seed in range(20):
        boxes = random_boxes(torch.Generator().manual_seed(seed))
        head = CenterNet3DHead(3, 8, 8)
        decoded, scores = head.decode(perfect_maps(boxes), SIZES)
        cells = {tuple((b[:3] / 4).round().tolist()) for b in boxes.flatten(0, 1)}
        if len(cells) < 6:
            continue
        assert torch.allclose(decoded, boxes, atol=1e-4) and (scores > 0.99).all()
        losses = head.loss(
            perfect_maps(boxes), boxes, *[torch.ones(2, 3, dtype=torch.bool)] * 2, SIZES
        )
        assert losses['L_r'] == 0 and losses['L_o'] < 1e-6


def test_padding_never_wins_and_never_counts():
    maps = CenterMaps(
        torch.zeros(SHAPE), torch.ones(2, 3, *SHAPE[2:]), torch.zeros(2, 3, *SHAPE[2:])
    )
    maps.logits[:, :, -1, -1, -1] = 50.0
    boxes, scores = CenterNet3DHead(3, 8, 8).decode(maps, SIZES)
    assert (boxes[..., :3] < SIZES[:, None]).all() and (scores == 0.5).all()
    valid = valid_cells(maps.logits, SIZES, 4)
    assert valid.sum((1, 2, 3, 4)).tolist() == [11 * 8 * 10, 10 * 8 * 9]


def test_targets_peak_at_exactly_one_and_are_zero_for_the_absent():
    boxes = random_boxes(torch.Generator().manual_seed(1))
    has = torch.tensor([[True, False, True], [True, True, True]])
    target = gaussian_targets(torch.Size(SHAPE), boxes, has, SIZES, 4, 0.2)
    assert ((target == 1).sum((2, 3, 4)) == has).all() and target[0, 1].abs().sum() == 0


def test_absent_and_truncated_anatomies_give_no_gradient():
    torch.manual_seed(0)
    head = CenterNet3DHead(3, 8, 8)
    pyramid = [torch.randn(2, 8, 16 // s, 8 // s, 8 // s) for s in (1, 2, 4, 8)]
    sizes = torch.tensor([[64, 32, 32]] * 2)
    boxes = random_boxes(torch.Generator().manual_seed(0))
    counted = torch.tensor([[True, False, True]] * 2)
    losses = head.loss(head(pyramid), boxes, counted, counted, sizes)
    sum(losses.values()).backward()
    last = head.heatmap[-1].weight.grad.flatten(1).abs().sum(1)
    assert last[1] == 0 and last[0] > 0
    head.zero_grad()
    nothing = torch.zeros(2, 3, dtype=torch.bool)
    losses = head.loss(head(pyramid), boxes * float('nan'), nothing, nothing, sizes)
    assert all(value == 0 for value in losses.values())


def test_local_head_starts_as_the_template_at_the_box():
    head = LocalPDMHead(20, 7, (16,))
    boxes, template = torch.rand(2, 3, 6) * 20, torch.randn(3, 7, 3)
    local = head(torch.randn(2, 3, 20), boxes, template)
    assert torch.allclose(local, boxes[:, :, None, :3] + template)


def test_local_head_reaches_no_further_than_twice_the_largest_radius():
    head = LocalPDMHead(4, 5, ())
    torch.nn.init.constant_(head.mlp[-1].bias, 100.0)
    boxes = torch.tensor([[[0.0, 0, 0, 1, 5, 2]]])
    assert torch.allclose(
        head(torch.zeros(1, 1, 4), boxes, torch.zeros(1, 5, 3)), torch.tensor(10.0)
    )


def test_procrustes_head_undoes_the_patients_pose():
    generator = torch.Generator().manual_seed(0)
    template = torch.randn(2, 30, 3, generator=generator) * 20
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator))[0]
    turn = turn * torch.linalg.det(turn)
    local = (template @ turn.T + 100).expand(4, -1, -1, -1)
    world = ProcrustesWorldHead()(local, template)
    assert torch.allclose(world, template.expand_as(world), atol=1e-2)


def test_pretrained_decoder_rebuilds_training_shapes_and_stays_frozen():
    generator = torch.Generator().manual_seed(0)
    template = torch.randn(2, 20, 3, generator=generator) * 20
    modes = torch.randn(3, 1, 2, 20, 3, generator=generator)
    scores = torch.randn(3, 24, 1, 1, 1, generator=generator)
    world = template + (modes * scores * 3).sum(0)
    head = CVAEWorldHead(20, 2, (64,), {'hidden_channels': (64,), 'latent_channels': 8})
    exists = torch.rand(24, 2, generator=generator) > 0.2
    history = pretrain_shape_vae(head, world, exists, template, 600, 32, 3e-3, 0)
    assert history[-1] < 0.1 * history[0]
    assert bool(head.shape_vae.is_trained)
    assert not any(p.requires_grad for p in head.shape_vae.parameters())
    out = head(world, template)
    head.loss(out, world, exists).backward()
    assert head.mlp[0].weight.grad.abs().sum() > 0
    assert out.shape == world.shape


@pytest.mark.parametrize('head', [CVAEWorldHead(9, 2, (8,)), ProcrustesWorldHead()])
def test_world_heads_do_not_care_where_the_patient_lies(head):
    template = torch.randn(2, 9, 3) * 10
    local = torch.randn(3, 2, 9, 3) * 10
    assert torch.allclose(head(local, template), head(local + 250, template), atol=1e-2)


def test_refinement_starts_as_the_identity_and_learns_to_go_where_the_map_says():
    """Features hold each cell's offset to the origin; particles learn to walk there."""
    torch.manual_seed(0)
    axis = 4.0 * torch.arange(8)
    offset = -torch.stack(torch.meshgrid(axis, axis, axis, indexing='ij'))[None] / 10
    head = ParticleRefineHead(
        3, 1, 5, strides=(4,), levels=1, reach=40.0, steps=1, hidden_channels=32
    )
    local = torch.rand(1, 1, 5, 3) * 28
    assert torch.equal(head([offset], local)[-1], local)
    optimizer = torch.optim.Adam(head.parameters(), lr=3e-3)
    for _ in range(300):
        particles = torch.rand(1, 1, 5, 3) * 28
        loss = head([offset], particles)[-1].square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        assert head([offset], local)[-1].abs().mean() < 0.15 * local.abs().mean()


def _nearly_the_same_under_autocast(function, tolerance):
    with torch.no_grad():
        full = function()
        with torch.autocast('cpu', torch.bfloat16):
            assert (function() - full).abs().max() < tolerance


def test_positions_keep_their_precision_under_autocast():
    """What a head adds to a position may be rounded as its features are, the position not."""
    torch.manual_seed(0)
    template, place = torch.randn(1, 200, 3) * 60, torch.tensor([180.0, -240, 300])
    local = template.expand(2, -1, -1, -1) + torch.randn(2, 1, 200, 3) + place
    _nearly_the_same_under_autocast(lambda: ProcrustesWorldHead()(local, template), 1e-3)
    head = CenterNet3DHead(1, 8, 8).eval()
    for branch in (head.radius, head.offset):
        torch.nn.init.constant_(branch[-1].bias, 9.77)
        torch.nn.init.zeros_(branch[-1].weight)
    pyramid = [torch.randn(1, 8, n, n, n) for n in (16, 8, 4, 2)]
    _nearly_the_same_under_autocast(lambda: head(pyramid).radius, 1e-3)
    _nearly_the_same_under_autocast(lambda: head(pyramid).offset, 1e-3)
    boxes = torch.tensor([[[90.0, 80, 70, 33, 22, 11]]])
    pdm = LocalPDMHead(16, 200, (16,))
    torch.nn.init.normal_(pdm.mlp[-1].bias)
    torch.nn.init.zeros_(pdm.mlp[-1].weight)
    features = torch.randn(1, 1, 16)
    _nearly_the_same_under_autocast(lambda: pdm(features, boxes, template), 1e-3)
