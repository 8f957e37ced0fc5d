"""Regions around shapes: the same places as the volume's, and what is drawn comes back to them."""

import pytest
import torch

from massm.errors import ConfigError
from massm.models.roi_heads.shape_fit_head import check_stages
from massm.models.shape_fit.posterior import FitState, rotation_from_vector
from massm.models.shape_fit.profiles import Around, profile_pattern
from massm.models.shape_fit.region_network import RegionNetwork, region_loss
from massm.models.shape_fit.regions import DrawnRegions, Pose, RegionGrid
from massm.models.shape_fit.shape_prior import ShapePrior
from massm.ops import sample_patterns
from tests.models.test_shape_fit import BENDS, MODES, PARTICLES, make_template

SPACING, CELLS = 2.0, 24
SHAPE = (40, 44, 48)


@pytest.fixture(scope='module')
def shapes():
    prior = ShapePrior(2, PARTICLES, modes=MODES, bends=BENDS)
    prior.read([make_template(0), make_template(1)])
    return prior.shapes


@pytest.fixture(scope='module')
def grid(shapes):
    grid = RegionGrid(2, CELLS, margin=10.0, spacing=SPACING)
    grid.read(shapes)
    return grid


@pytest.fixture(scope='module')
def state(shapes):
    """Two images, of each three fits turned and moved differently."""
    generator = torch.Generator().manual_seed(0)
    center = torch.tensor([40.0, 44, 48]) + 3 * torch.randn(2, 6, 3, generator=generator)
    turned = rotation_from_vector(0.2 * torch.randn(2, 6, 3, generator=generator))
    start = FitState.at(center, len(shapes))
    return FitState(turned, center, start.coefficients, center)


def waves():
    """``[2, 1, X, Y, Z]``, smooth and different in every place and image."""
    x, y, z = (
        torch.arange(n).view([-1 if i == j else 1 for j in range(3)]) / 9.0
        for i, n in enumerate(SHAPE)
    )
    first = torch.sin(x + 0.5) * torch.cos(0.7 * y) + 0.3 * torch.sin(z)
    return torch.stack([first, torch.cos(first * 2)]).unsqueeze(1)


def test_a_region_shows_the_volume_where_its_cells_lie(grid, state):
    pose = Pose.of_first(state, 2)
    regions = grid.look(waves(), pose)
    assert regions.shape == (2, 2, 1, CELLS, CELLS, CELLS)
    place = grid.corner[1] + grid.cell[1] * torch.tensor([5.5, 12.5, 20.5])
    for image in range(2):
        vox = (pose.rotation[1, image] @ place + pose.translation[1, image]) / SPACING
        expected = sample_patterns(
            waves()[image][None], vox[None, None], torch.eye(3)[None, None], torch.zeros(1, 3)
        )
        assert regions[1, image, 0, 5, 12, 20] == pytest.approx(float(expected), abs=1e-5)


def test_what_is_drawn_agrees_with_the_mean_shape_as_far_as_it_overlaps_it(grid, state):
    inside = grid.distance < 0
    half = inside & (torch.arange(CELLS) < CELLS // 2)
    drawn = torch.stack([inside, ~inside, torch.zeros_like(inside), half], 1)
    pose = Pose.of_first(state, 2)
    found = grid.agreement(DrawnRegions(40 * (drawn.float() - 0.5), pose))
    assert torch.allclose(found[:, :3], torch.tensor([1.0, 0, 0]), atol=1e-3)
    share = half.sum((1, 2, 3)) / inside.sum((1, 2, 3))
    assert torch.allclose(found[:, 3], 2 * share / (1 + share), atol=1e-3)


def test_profiles_of_a_region_are_those_of_the_volume_it_shows(grid, state, shapes):
    pose = Pose.of_first(state, 2)
    drawn = DrawnRegions(grid.look(waves(), pose)[:, :, 0], pose)
    points = state.points(shapes)
    frames = state.turned(shapes.frames[:, None].expand(*points.shape, 3))
    around = Around(points / SPACING, frames / SPACING)
    pattern = profile_pattern(reach=4.0, samples=5, beside=2.0)
    seen = grid.profiles(drawn, around, pattern)
    for n in range(6):
        expected = sample_patterns(
            waves()[n // 3].expand(2, 1, *SHAPE), around.points[:, n], around.frames[:, n], pattern
        )[:, :, 0]
        # Two interpolations instead of one.
        assert (seen[:, n] - expected).abs().mean() < 0.01
    other = sample_patterns(
        waves()[1].expand(2, 1, *SHAPE), around.points[:, 0], around.frames[:, 0], pattern
    )[:, :, 0]
    assert (seen[:, 0] - other).abs().mean() > 0.2  # it would tell another image apart


def test_what_is_drawn_comes_back_to_the_volume(grid, state):
    """A ball drawn in the regions is that ball in the volume, and nothing outside of the region."""
    pose = Pose.of_first(state, 2)
    radius = 9.0
    logits = radius - grid.places().norm(dim=-1)
    drawn = DrawnRegions(logits.unsqueeze(1).expand(-1, 2, -1, -1, -1), pose)
    for image in range(2):
        masks = grid.masks(drawn, image, SHAPE)
        voxels = torch.cartesian_prod(*[torch.arange(n) for n in SHAPE]).view(*SHAPE, 3)
        for k in range(2):
            away = (voxels * SPACING - pose.translation[k, image]).norm(dim=-1)
            assert ((masks[k] > 0.5) == (away < radius)).float().mean() > 0.999
            assert (masks[k] > 0.5).sum() > 200
        inside = (masks > 0.5).float()
        own = grid.look_at_own(inside.unsqueeze(0).expand(2, -1, -1, -1, -1), pose)
        expected = (logits > 0).float()
        assert (own[:, image] - expected).abs().mean() < 0.05


@pytest.mark.parametrize('away', [-500.0, -120.0, -100.0, 120.0, 500.0])
def test_regions_beyond_the_volume_draw_nothing_there(grid, state, away):
    pose = Pose.of_first(state, 2)
    far = Pose(pose.rotation, pose.translation + away)
    drawn = DrawnRegions(torch.ones(2, 2, CELLS, CELLS, CELLS), far)
    assert not grid.masks(drawn, 0, SHAPE).any()


def test_distance_grows_outwards(grid):
    middle = grid.distance[:, CELLS // 2, CELLS // 2, CELLS // 2]
    assert (middle < -0.3).all()
    assert (grid.distance[:, 0, 0, 0] > 0.5).all()


def test_anatomies_share_a_network_and_have_their_own_scales(grid):
    torch.manual_seed(0)
    network = RegionNetwork(2, 2, (8, 16))
    regions = torch.randn(1, 3, 2, CELLS, CELLS, CELLS).expand(2, -1, -1, -1, -1, -1)
    distance = grid.distance[:1].expand(2, -1, -1, -1)
    logits = network(regions, distance)
    assert logits.shape == (2, 3, CELLS, CELLS, CELLS)
    with torch.no_grad():
        network.stem.scale[1] *= 2
    again = network(regions, distance)
    assert torch.equal(again[0], logits[0]) and not torch.allclose(again[1], logits[1])
    # One image at a time is the same as all of them together.
    alone = network(regions[:, 1:2], distance)
    assert torch.allclose(alone[:, 0], again[:, 1], atol=1e-4)


def test_what_has_learnt_nothing_draws_about_the_mean_shape(grid):
    torch.manual_seed(0)
    drawn = RegionNetwork(2, 2, (8, 16))(torch.randn(2, 3, 2, CELLS, CELLS, CELLS), grid.distance)
    mean = (grid.distance < 0).unsqueeze(1).expand_as(drawn)
    both = 2 * ((drawn > 0) & mean).sum((2, 3, 4))
    assert (both / ((drawn > 0).sum((2, 3, 4)) + mean.sum((2, 3, 4))) > 0.8).all()


def test_the_loss_is_least_for_the_truth():
    inside = torch.zeros(1, 2, 6, 6, 6)
    inside[:, 0, 2:4, 2:5, 1:4] = 1
    right, wrong = 20 * (inside - 0.5), torch.zeros_like(inside)
    assert (
        region_loss(right, inside) < 0.01
    ).all()  # where nothing is, nothing drawn costs nothing
    assert (region_loss(wrong, inside) > 1).all()


def test_channels_and_cells_of_regions_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match=r'multiples of 8, or fewer, got \(12, 24\)'):
        RegionNetwork(2, 2, (12, 24))
    RegionNetwork(2, 2, (4, 8, 24))
    with pytest.raises(ConfigError, match=r'cells must be a multiple of 8, .* got 20'):
        check_stages([], {'cells': 20, 'channels': (8, 16, 24), 'margin': 12.0})
