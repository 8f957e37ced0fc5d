"""The fit of a shape model to an image: laws of its geometry, and a fit to a picture of a shape."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from massm.engine.shape_filter_training import FilterFit, FitCase, Trials
from massm.errors import ConfigError
from massm.io.templates import ShapeTemplate
from massm.models.roi_heads.shape_fit_head import FitTargets, ShapeFitHead
from massm.models.shape_fit.linear_offsets import NO_SAY
from massm.models.shape_fit.posterior import (
    FitState,
    Offsets,
    moved,
    posterior,
    rotation_from_vector,
    vector_from_rotation,
)
from massm.models.shape_fit.profiles import Seen, first_planes, profile_pattern
from massm.models.shape_fit.shape_prior import ShapePrior, smooth_bends
from massm.ops import sample_patterns, sample_volume
from massm.shape.pdm import PointDistributionModel
from tests.conftest import make_blob

PARTICLES, MODES, BENDS = 96, 4, 12


def make_template(seed=0):
    """A blob whose population stretches along its axes and swells on one side."""
    mesh = make_blob()
    generator = np.random.default_rng(seed)
    chosen = np.linspace(0, len(mesh.vertices) - 1, PARTICLES).astype(int)
    points = mesh.vertices[chosen]
    points = points - (points.min(0) + points.max(0)) / 2
    mesh = mesh.with_vertices(mesh.vertices - (mesh.vertices[chosen].min(0) + points.max(0)) / 2)
    shapes = [points * (1 + 0.1 * generator.normal(size=3)) for _ in range(20)]
    return ShapeTemplate('blob', points, points, mesh, PointDistributionModel.fit(np.stack(shapes)))


@pytest.fixture(scope='module')
def prior():
    prior = ShapePrior(2, PARTICLES, modes=MODES, bends=BENDS)
    prior.read([make_template(0), make_template(1)])
    return prior.shapes


def random_state(prior, generator, size=1.0):
    count = len(prior)
    center = 40 + size * 3 * torch.randn(2, 3, 3, generator=generator)
    state = FitState.at(center, count)
    shape = torch.randn(2, 3, count, generator=generator)
    shape[..., MODES - 1 :] = 0  # the population has three modes
    return replace(
        state,
        rotation=rotation_from_vector(size * 0.1 * torch.randn(2, 3, 3, generator=generator)),
        coefficients=size * shape,
    )


@pytest.mark.parametrize('angle', [0.0, 1e-6, 1e-3, 0.3, 2.0, 3.1])
def test_a_turn_about_an_axis_is_the_exponential_of_its_cross_matrix(angle):
    vector = angle * torch.nn.functional.normalize(torch.tensor([0.3, -0.8, 0.5]).double(), dim=0)
    vector.requires_grad_()
    x, y, z = vector
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).view(3, 3)
    weights = torch.arange(9.0).double().view(3, 3)
    found = []
    for turn in (rotation_from_vector(vector), torch.linalg.matrix_exp(cross)):
        (slope,) = torch.autograd.grad((weights * turn).sum(), vector, retain_graph=True)
        found.append((turn, slope))
    (turn, slope), (expected, true_slope) = found
    assert torch.allclose(turn, expected, atol=1e-12)
    assert torch.allclose(slope, true_slope, atol=1e-9)


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_rotations_and_their_vectors_are_inverse(seed):
    vector = torch.randn(5, 3, generator=torch.Generator().manual_seed(seed)).clamp(-2, 2) * 0.4
    rotation = rotation_from_vector(vector)
    assert torch.allclose(rotation @ rotation.transpose(-1, -2), torch.eye(3), atol=1e-5)
    assert torch.allclose(vector_from_rotation(rotation), vector, atol=1e-4)


def test_exact_offsets_along_normals_lead_to_the_shape_they_were_taken_from(prior):
    generator = torch.Generator().manual_seed(3)
    truth = random_state(prior, generator)
    state = FitState.at(truth.start + 3.0, len(prior))
    goal = truth.points(prior)
    for _ in range(5):
        state, found = one_round(state, prior, goal, precision=1e4)
    assert (state.points(prior) - goal).norm(dim=-1).mean() < 0.3
    assert (state.coefficients - truth.coefficients)[..., : MODES - 1].abs().mean() < 0.1
    assert found.deviation().mean() < 0.1


def one_round(state, prior, goal, precision, there=None):
    points = state.points(prior)
    normals = state.turned(prior.frames[:, None, :, 0].expand(points.shape))
    offset = (normals * (goal - points)).sum(-1)
    weight = torch.full_like(offset, precision)
    weight = weight if there is None else weight * there
    found = posterior(state, prior, normals, Offsets(offset, weight), MODES)
    return moved(state, prior, found.best), found


def test_without_measurements_the_shape_goes_back_to_the_mean_at_the_start(prior):
    state = random_state(prior, torch.Generator().manual_seed(5), size=0.5)
    after, found = one_round(state, prior, state.points(prior), precision=0.0)
    assert after.coefficients[..., :MODES].abs().max() < 1e-4
    assert torch.allclose(after.translation, after.start, atol=1e-3)
    spread = found.deviation()
    # What is left is the prior: pose and modes together.
    expected = prior.basis[:, :MODES].square().sum((1, 3)) / 3 + prior.translation_std**2
    assert (spread.square().mean(1) > 0.9 * expected).all()


def test_turning_and_moving_the_patient_turns_and_moves_the_fit(prior):
    generator = torch.Generator().manual_seed(7)
    truth = random_state(prior, generator)
    turn = rotation_from_vector(torch.tensor([0.02, -0.03, 0.04]))
    flat = replace(truth, rotation=turn @ truth.rotation)
    one = FitState.at(truth.start, len(prior))
    other = FitState.at(truth.start + 7.5, len(prior))
    for _ in range(4):
        one, _ = one_round(one, prior, truth.points(prior), 1e3)
        other, _ = one_round(other, prior, flat.points(prior) + 7.5, 1e3)
    moved_points = flat.turned(one.world(prior)) + flat.translation[:, :, None]
    assert (other.world(prior) - one.world(prior)).norm(dim=-1).mean() < 0.1
    assert (other.points(prior) - 7.5 - moved_points).norm(dim=-1).mean() < 0.3


def test_hidden_particles_are_less_sure(prior):
    state = random_state(prior, torch.Generator().manual_seed(1))
    hidden = state.points(prior)[..., 0] > 40
    _, found = one_round(state, prior, state.points(prior), 1.0, there=~hidden)
    deviation = found.deviation()
    for k in range(2):
        assert deviation[k][hidden[k]].mean() > 1.2 * deviation[k][~hidden[k]].mean()


def test_profiles_read_a_ramp_along_and_beside_the_normal():
    ramp = torch.arange(32.0).view(1, 1, 32, 1, 1).expand(1, 1, 32, 32, 32).contiguous()
    points = torch.full((1, 2, 3), 15.0)
    frames = torch.eye(3).expand(1, 2, 3, 3)
    pattern = profile_pattern(reach=4.0, samples=5, beside=2.0)
    seen = sample_patterns(ramp, points, frames, pattern).view(2, 5, 5)
    along = torch.tensor([11.0, 13, 15, 17, 19])
    assert torch.allclose(seen, along.expand(2, 5, 5), atol=1e-4)  # tangents are along y and z
    assert torch.equal(pattern.view(5, 5, 3)[1, 2], torch.tensor([0.0, 2, 0]))


def test_planes_of_one_value_below_a_scan_are_none_of_it():
    """One image begins at (0, 0, 3), one at (2, 0, 0), one is empty."""
    images = torch.rand(3, 2, 5, 6, 8, generator=torch.Generator().manual_seed(0))
    images[1, 0, :, :, -1] = 0.0  # at the high end volumes end where scans do
    images[0, :, :, :, :3], images[1, :, :2], images[2] = 0.0, 0.25, 0.5
    sizes = torch.tensor([[5, 6, 8]] * 3)
    seen = Seen.of_scan(images.clone(), sizes)
    assert seen.first.tolist() == [[0, 0, 3], [2, 0, 0], [0, 0, 0]]
    for z in range(3):
        assert torch.equal(seen.images[0, ..., z], images[0, ..., 3])
    assert torch.equal(seen.images[1, :, 0], images[1, :, 2])
    assert torch.equal(seen.images[0, ..., 3:], images[0, ..., 3:])
    images[0, ..., :4] = 0.0  # more than a working grid adds: the scan is empty there
    assert first_planes(images)[0].tolist() == [0, 0, 0]
    points = torch.tensor([[2.0, 2, 2.4], [2, 2, 2.6], [1.4, 0, 7], [2, 5.6, 5]]).expand(3, -1, -1)
    assert seen.shows(points).tolist() == [
        [False, True, True, False],
        [True, True, False, False],
        [True, True, True, False],
    ]
    assert Seen(images, sizes).shows(points)[0].tolist() == [True, True, True, False]


def test_what_a_batch_pads_behind_a_scan_is_none_of_it():
    images = torch.rand(2, 1, 5, 6, 8, generator=torch.Generator().manual_seed(0))
    sizes = torch.tensor([[5, 6, 8], [3, 6, 7]])
    seen = Seen.of_scan(images, sizes).images
    assert torch.equal(seen[0], images[0])
    assert torch.equal(seen[1, :, :3, :, :7], images[1, :, :3, :, :7])
    assert torch.equal(seen[1, :, 3:, :, 7], images[1, :, 2:3, :, 6].expand(-1, 2, -1))


def test_patterns_are_sampled_as_their_positions_would_be():
    generator = torch.Generator().manual_seed(2)
    volume = torch.randn(2, 3, 9, 7, 8, generator=generator)
    points = 10 * torch.rand(2, 4, 3, generator=generator) - 1
    frames = rotation_from_vector(torch.randn(2, 4, 3, generator=generator))
    pattern = torch.randn(6, 3, generator=generator)
    positions = points.unsqueeze(2) + pattern @ frames
    expected = sample_volume(volume, positions.unsqueeze(3))[..., 0].permute(0, 2, 1, 3)
    assert torch.allclose(sample_patterns(volume, points, frames, pattern), expected, atol=1e-5)


def test_bends_follow_the_normals_and_have_the_wished_size():
    template = make_template()
    normals = np.stack([p / np.linalg.norm(p) for p in template.local])
    bends = smooth_bends(template.local, normals, PARTICLES, std=1.5, length=0.3)
    along = (bends * normals[None]).sum(-1)
    assert np.allclose(along[..., None] * normals[None], bends, atol=1e-9)
    assert np.allclose(np.sqrt((along**2).sum(0)), 1.5, rtol=0.1)


def picture(state, prior, size=64):
    """A volume that is bright inside of a blob: distance to the nearest particle's plane."""
    axes = torch.stack(torch.meshgrid(*[torch.arange(size * 1.0)] * 3, indexing='ij'), -1)
    points, frames = (
        state.points(prior)[0, 0],
        state.turned(prior.frames[:, None].expand(*state.points(prior).shape, 3))[0, 0],
    )
    flat = axes.reshape(-1, 3)
    nearest = torch.cdist(flat, points).argmin(1)
    depth = ((flat - points[nearest]) * frames[nearest, 0]).sum(-1)
    return torch.sigmoid(-2 * depth).view(1, 1, size, size, size)


def blobs(head, count):
    """Images of shapes of the head's model, and their particles ``[1, 1, M, 3]`` (1 mm voxels)."""
    cases = []
    for _ in range(count):
        state = FitState.at(torch.full((1, 1, 3), 32.0), MODES)
        shape = torch.randn(1, 1, MODES)
        shape[..., 3:] = 0
        state = replace(state, coefficients=shape)
        shapes = head.prior.shapes
        cases.append((picture(state, shapes), state.points(shapes)))
    return cases


PRIOR = {'modes': MODES, 'bends': 0}
IMAGE = {'reach': 10.0, 'beside': 3.0, 'rounds': 2, 'modes': MODES}
READER = {'reach': 6.0, 'beside': 2.0, 'rounds': 2, 'modes': MODES, 'reads_region': True}
REGION = {'cells': 8, 'margin': 6.0, 'channels': (8, 8)}


def blob_head(stages=(IMAGE,), **options):
    torch.manual_seed(0)
    head = ShapeFitHead(1, PARTICLES, 1, 1.0, stages, prior=PRIOR, **options)
    head.prior.read([make_template()])
    if head.region_grid is not None:
        head.region_grid.read(head.prior.shapes)
    return head


def middle(points):
    return (points.amin(2) + points.amax(2)) / 2


SIZES = torch.tensor([[64, 64, 64]])


def errors(head, cases):
    """Mean distances of fits that start off centre, and of the mean shape at the true centre."""
    fits, means = [], []
    for image, points in cases:
        center = middle(points)
        with torch.no_grad():
            fit = head.predict(Seen(image, SIZES), center + torch.tensor([3.0, -3.0, 2.0]))
        assert 0 < fit.deviation_mm.mean() < 3
        fits.append(float((fit.local_vox - points).norm(dim=-1).mean()))
        mean = head.prior.mean[:, None] + center[:, :, None]
        means.append(float((mean - points).norm(dim=-1).mean()))
    return np.array(fits), np.array(means)


def fit_cases(cases):
    """Of every subject two."""
    return [
        FitCase(
            Seen(image, SIZES),
            points[0],
            middle(points)[0],
            torch.ones(1, dtype=torch.bool),
            seed=n,
            subject=n // 2,
        )
        for n, (image, points) in enumerate(cases)
    ]


def fit(head, cases, until=None):
    fitting = FilterFit(head, lambda: fit_cases(cases), starts=4)
    return fitting, fitting.go_on(len(head.filters) if until is None else until)


def test_closed_form_filters_fit_bright_blobs():
    """From a start some millimetres off, the fit comes nearer than the mean shape at the truth."""
    head = blob_head()
    cases = blobs(head, 16)
    _, left = fit(head, cases[:14])
    assert left.shape == (2, 1) and left[1, 0] < left[0, 0]
    fits, means = errors(head, cases[14:])
    assert (fits < 0.6 * means).all()


def test_filters_learn_from_a_cut_shape_what_its_volume_shows():
    """Here every scan ends at the middles of the shapes."""
    head = blob_head()
    half = torch.tensor([[64, 64, 32]])
    cases = [
        replace(case, seen=replace(case.seen, sizes=half)) for case in fit_cases(blobs(head, 8))
    ]
    left = FilterFit(head, lambda: cases, starts=4).go_on(len(head.filters))
    assert (left < IMAGE['reach'] / 3).all()  # of those that are shown
    height = head.prior.mean[0, :, 2]
    low, high = height < -12, height > 12
    assert low.any() and high.any()
    for filters in head.filters:
        weight, spread = filters.weight[0], filters.log_spread[0].exp()
        assert weight[low].any(-1).all() and (spread[low] < IMAGE['reach'] / 3).all()
        assert not weight[high].any() and np.allclose(spread[high], NO_SAY)
    found = head.predict(replace(cases[0].seen, sizes=half), cases[0].centers_mm[None])
    assert found.local_vox.isfinite().all()
    assert found.deviation_mm[0, 0, high].mean() > found.deviation_mm[0, 0, low].mean()


def teach_regions(head, cases, steps):
    optimizer = torch.optim.Adam(head.region_network.parameters(), lr=1e-2)
    losses = []
    for step in range(steps):
        image, points = cases[step % len(cases)]
        inside, labelled = image[:, :1] > 0.5, torch.ones(1, 1, dtype=torch.bool)
        loss = head.loss(Seen(image, SIZES), FitTargets(middle(points), [step], inside, labelled))
        optimizer.zero_grad()
        loss['L_s'].backward()
        optimizer.step()
        losses.append(float(loss['L_s'].detach()))
    return losses


def test_filters_read_regions_once_training_has_taught_them():
    """Those of the first rounds do not change; until the others are fitted the fit does without."""
    head = blob_head((IMAGE, READER), region=REGION)
    cases = blobs(head, 10)
    fitting, _ = fit(head, cases[:8], until=head.rounds_before_regions)
    image, points = cases[8]
    early = head.predict(Seen(image, SIZES), middle(points))
    assert early.drawn is None
    losses = teach_regions(head, cases[:8], steps=40)
    assert np.mean(losses[-8:]) < 0.8 * np.mean(losses[:8])  # which begin with the mean shape
    first = head.filters[0].weight.clone()
    left = fitting.go_on(4)
    assert torch.equal(head.filters[0].weight, first) and left.shape == (2, 1)
    late = head.predict(Seen(image, SIZES), middle(points))
    assert (late.drawn.logits > 0).any() and not torch.equal(late.local_vox, early.local_vox)
    fits, means = errors(head, cases[8:])
    assert (fits < 0.6 * means).all()
    # Fitted in one go, as where training was resumed, they are the same.
    again = blob_head((IMAGE, READER), region=REGION)
    again.region_network.load_state_dict(head.region_network.state_dict())
    fit(again, cases[:8])
    assert torch.allclose(again.filters[3].weight, head.filters[3].weight, atol=1e-5)


def test_a_volume_supports_a_shape_as_far_as_it_shows_it_and_something_is_drawn_there():
    head = blob_head((IMAGE, READER), region=REGION)
    (image, points), *_ = cases = blobs(head, 8)
    half = Seen(image, torch.tensor([[64, 64, 32]]))
    fit(head, cases, until=head.rounds_before_regions)
    assert head.predict(Seen(image, SIZES), middle(points)).support == 1
    assert 0.3 < head.predict(half, middle(points)).support < 0.7
    teach_regions(head, cases, steps=40)
    fit(head, cases)
    found = head.predict(half, middle(points))
    shown = half.shows(found.local_vox).float().mean(-1)
    agrees = head.region_grid.agreement(found.drawn)
    assert 0.6 < agrees < 1 and torch.allclose(found.support, shown * agrees)
    head.region_taught.fill_(False)  # as where nobody drew this anatomy
    assert torch.allclose(head.predict(half, middle(points)).support, shown)


def test_few_anatomies_at_a_time_are_fitted_as_all_at_once(monkeypatch):
    def fitted():
        head = ShapeFitHead(2, PARTICLES, 1, 1.0, (IMAGE, READER), region=REGION, prior=PRIOR)
        head.read_templates([make_template(0), make_template(1)], 1.0)
        cases = blobs(head, 6)
        both = [
            replace(case, local_mm=case.local_mm.expand(2, -1, -1), known=has)
            for case, has in zip(fit_cases(cases), HAS, strict=True)
        ]
        both = [replace(c, centers_mm=c.centers_mm.expand(2, -1)) for c in both]
        FilterFit(head, lambda: both, starts=2).go_on(4)
        return head.filters[3].weight

    torch.manual_seed(0)
    together = fitted()
    monkeypatch.setattr('massm.engine.shape_filter_training.LARGEST_ROWS', 1)
    torch.manual_seed(0)
    assert torch.allclose(fitted(), together, atol=1e-4)


HAS = torch.tensor([[1, 1], [1, 0], [1, 1], [0, 1], [1, 1], [1, 1]], dtype=torch.bool)


@pytest.mark.parametrize(
    ('stages', 'region', 'said'),
    [((READER, IMAGE), REGION, 'must come after'), ((IMAGE, READER), None, 'there is no region')],
)
def test_stages_that_cannot_be_fitted_are_refused(stages, region, said):
    with pytest.raises(ConfigError, match=said):
        blob_head(stages, region=region)


def test_of_the_trials_each_anatomy_keeps_its_own_best_and_where_it_led():
    """Anatomy 0 gets nearest with 0.5, anatomy 1 with 0.1, and of anatomy 2 nothing is known."""
    trials = Trials((0.1, 0.5), 3, torch.device('cpu'))
    for _ in range(2):
        for i, left in ((0.1, [3.0, 1.0, 0.0]), (0.5, [2.0, 4.0, 0.0])):
            trials.add(i, FitState.at(torch.full((3, 1, 3), i), 2), torch.tensor(left))
    best, states = trials.best()
    assert len(states) == 2 and best.tolist()[:2] == pytest.approx([0.5, 0.1])
    assert states[1].translation[:2, 0, 0].tolist() == pytest.approx([0.5, 0.1])


def test_of_an_image_unlike_the_others_it_is_less_sure():
    """Filters are as sure of every patient; here what they say does not fit together."""
    head = blob_head()
    cases = blobs(head, 14)
    fit(head, cases[:12])
    for image, points in cases[12:]:
        streaks = torch.where(torch.rand_like(image) > 0.9, 1 - image, image)
        clean, odd = (head.predict(Seen(x, SIZES), middle(points)) for x in (image, streaks))
        assert odd.deviation_mm.mean() > 1.3 * clean.deviation_mm.mean()
    outside = head.predict(Seen(image, SIZES), torch.full((1, 1, 3), 500.0))
    assert outside.deviation_mm.isfinite().all() and outside.deviation_mm.mean() > 3


def test_several_starts_agree_and_their_spread_is_part_of_the_uncertainty():
    head = blob_head()
    cases = blobs(head, 10)
    fit(head, cases[:8])
    one, _ = errors(head, cases[8:])
    alone = head.predict(Seen(cases[8][0], SIZES), middle(cases[8][1]))
    head.test_starts = 7
    seven, means = errors(head, cases[8:])
    assert seven.mean() < 1.05 * one.mean() and (seven < means).all()
    together = head.predict(Seen(cases[8][0], SIZES), middle(cases[8][1]))
    assert together.local_vox.shape == alone.local_vox.shape
    assert together.deviation_mm.mean() > alone.deviation_mm.mean()


def test_it_is_known_of_which_anatomies_there_was_nothing_to_learn():
    fit = FilterFit(None, list)
    fit._truths = [
        (None, torch.tensor(known)) for known in ([True, False, False], [False, True, 0])
    ]
    assert fit.taught().tolist() == [True, True, False]
