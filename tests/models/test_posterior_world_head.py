"""The posterior mean of a shape: a projection where nothing errs, the mean where all does, and in
between nearer to the truth than either."""

import numpy as np
import pytest
import torch

from massm.models import PosteriorWorldHead, ProcrustesWorldHead
from massm.models.shape_fit.posterior import rotation_from_vector
from tests.models.test_shape_fit import PARTICLES, make_template

NOISE = 1.5


@pytest.fixture(scope='module')
def templates():
    return [make_template(0), make_template(1)]


def make_head(templates, **settings):
    head = PosteriorWorldHead(PARTICLES, 2, **{'independence': 1.0, **settings})
    head.read_templates(templates, 2.0)
    return head


def drawn(templates, count=40, seed=0):
    """``[count, 2, M, 3]`` shapes of the two models."""
    generator = np.random.default_rng(seed)
    shapes = []
    for template in templates:
        model = template.pdm
        b = generator.normal(size=(count, len(model.modes))) * np.sqrt(model.variances)
        shapes.append(model.mean + np.einsum('nl,lmc->nmc', b, model.modes))
    return torch.as_tensor(np.stack(shapes, 1)).float()


def template_world(templates):
    return torch.as_tensor(np.stack([t.world for t in templates])).float()


def test_without_errors_the_shape_is_kept_and_its_pose_is_not(templates):
    shapes, onto = drawn(templates), template_world(templates)
    turn = rotation_from_vector(torch.tensor([0.1, -0.2, 0.15]))
    moved = shapes @ turn.T + 30.0
    head, rigid = make_head(templates, noise=1e-4), ProcrustesWorldHead()(shapes, onto)
    lost = (head(moved, onto) - rigid).norm(dim=-1).mean()
    # A little: turning takes a shape out of the modes' span.
    assert lost < 0.1 * (head.mean - rigid).norm(dim=-1).mean()


def test_where_all_errs_it_is_the_mean(templates):
    found = make_head(templates, noise=1e4)(drawn(templates), template_world(templates))
    mean = torch.as_tensor(np.stack([t.mean_world for t in templates])).float()
    assert torch.allclose(found, mean.expand_as(found), atol=1e-2)


def test_with_errors_it_is_nearer_to_the_truth_than_the_fit_and_the_mean(templates):
    shapes, onto = drawn(templates), template_world(templates)
    noisy = shapes + NOISE * torch.randn(shapes.shape, generator=torch.Generator().manual_seed(1))
    head, rigid = make_head(templates, noise=NOISE), ProcrustesWorldHead()
    truth = rigid(shapes, onto)
    errors = [(x - truth).square().mean((0, 2, 3)) for x in (head(noisy, onto), rigid(noisy, onto))]
    assert (errors[0] < 0.2 * errors[1]).all()
    assert (errors[0] < 0.5 * (head.mean - truth).square().mean((0, 2, 3))).all()
