"""What one map leaves open, the other anatomies decide."""

import numpy as np
import pytest
import torch

from massm.models.dense_heads.center_prior import Candidates
from massm.models.dense_heads.soft_center_head import SoftCenterHead, SoftMaps

# Four anatomies of a cohort (mm, the patient's middle): two are mirror images of each other.
PLACES = np.array([[-50.0, 0, 0], [50, 0, 0], [0, 40, 10], [0, 10, -50]])
SIZES = torch.tensor([[48, 40, 44]])
SHAPE = (1, 4, 24, 20, 22)
SPACING = 4.0
MIDDLE = torch.tensor([24.0, 20, 24])


def cohort(subjects=60, seed=0):
    """Centres ``[S, 4, 3]`` about ``PLACES``, anywhere in space, one in four missing."""
    generator = np.random.default_rng(seed)
    centers = PLACES + 5 * generator.normal(size=(subjects, 4, 3))
    centers = centers + 300 * generator.normal(size=(subjects, 1, 3))
    centers[generator.random((subjects, 4)) < 0.25] = np.nan
    return centers


def head(centers=None):
    made = SoftCenterHead(4, 8, 2)
    made.spacing.fill_(SPACING)
    if centers is not None:
        made.read_centers(centers)
    return made


def truth():
    """``[1, 4, 3]`` voxels."""
    return (torch.tensor(PLACES).float() / SPACING + MIDDLE)[None]


def bumps(centers_vox, height):
    """``where`` logits with a peak of ``height`` at ``centers_vox`` ``[1, 4, 3]``."""
    axes = torch.meshgrid(*[2.0 * torch.arange(n) for n in SHAPE[2:]], indexing='ij')
    away = torch.stack(axes, -1) - centers_vox[:, :, None, None, None]
    return height * torch.exp(-0.5 * away.square().sum(-1) / 2.5**2)


def found(made, where):
    zero = torch.zeros(SHAPE)
    return made.decode(SoftMaps(where, zero, zero), SIZES)[0][..., :3]


def test_a_gland_is_not_taken_for_its_mirror_image():
    mirrored = truth()[:, [1, 0, 2, 3]]
    where = bumps(truth(), 12.0)
    # The first anatomy's map prefers the other side.
    where[:, 0] = torch.maximum(where[:, 0], bumps(mirrored, 14.0)[:, 0])
    alone, together = found(head(), where), found(head(cohort()), where)
    assert (alone[0, 0] - truth()[0, 1]).norm() < 1
    assert (together - truth()).norm(dim=-1).max() < 1


def test_a_map_that_is_wrong_misleads_no_other():
    wrong = truth()
    wrong[0, 3] = torch.tensor([8.0, 30, 36])
    together = found(head(cohort()), bumps(wrong, 14.0))
    assert (together - truth())[0, :3].norm(dim=-1).max() < 1
    # Nothing is seen where it must be: it is put where the others expect it.
    assert (together - truth())[0, 3].norm() * SPACING < 10


def test_a_map_that_says_nothing_leaves_it_to_the_others():
    where = bumps(truth(), 14.0)
    where[:, 2] = 0
    assert (found(head(cohort()), where) - truth())[0, 2].norm() * SPACING < 10


@pytest.mark.parametrize('shift', [0.0, 0.7, 1.5])
def test_clear_maps_keep_their_own_centres(shift):
    # Ten millimetres from where the cohort has it.
    own = truth() + shift
    own[0, 0, 1] += 2.5
    where = bumps(own, 14.0)
    assert torch.allclose(found(head(cohort()), where), found(head(), where), atol=1e-3)


def test_an_anatomy_that_no_subject_has_keeps_its_own_map():
    centers = cohort()
    centers[:, 1] = np.nan
    far = truth()
    far[0, 1] = torch.tensor([4.0, 4, 40])
    assert (found(head(centers), bumps(far, 14.0)) - far).norm(dim=-1).max() < 1


def test_groups_that_no_subject_links_do_not_place_each_other():
    centers = cohort()
    centers[::2, 2:] = np.nan
    centers[1::2, :2] = np.nan
    prior = head(centers).prior
    assert prior.linked[0, 1] == 1 and prior.linked[2, 3] == 1 and not prior.linked[:2, 2:].any()
    # The one group moved against the other.
    apart = truth()
    apart[0, 2:] += torch.tensor([-6.0, -8, -4])
    assert (found(head(centers), bumps(apart, 14.0)) - apart).norm(dim=-1).max() < 1


@pytest.mark.parametrize('others', [0, 3])
@pytest.mark.parametrize('width', [3.0, 6.0])
def test_broad_maps_keep_their_peaks(others, width):
    """One that is alone, and four of which no map is sure: there is no place to fall back on."""
    count = 1 + others
    made = SoftCenterHead(count, 8, 2)
    made.spacing.fill_(SPACING)
    made.read_centers(cohort()[:, :count] + 200)
    axes = torch.meshgrid(*[torch.arange(60.0) for _ in range(3)], indexing='ij')
    peaks = torch.tensor([[80.0, 60, 40]]) + torch.tensor(PLACES[:count]).float() / SPACING
    away = 2 * torch.stack(axes, -1) - peaks[:, None, None, None]
    where = -0.5 * away.square().sum(-1)[None] / (2 * width) ** 2
    boxes, _ = made.decode(SoftMaps(where, where * 0, where * 0), torch.tensor([[120, 120, 120]]))
    assert (boxes[0, :, :3] - peaks).norm(dim=-1).max() < 3


def test_sparse_subjects_make_nothing_sure():
    """One with a single centre says nothing of where it lies to others."""
    full, sparse = cohort(30), cohort(30)
    alone = np.random.default_rng(1).integers(0, 4, 300)
    lonely = np.full((300, 4, 3), np.nan)
    lonely[np.arange(300), alone] = PLACES[alone] + 10
    both = [head(c).prior for c in (full, np.concatenate([sparse, lonely]))]
    spread = [relative_std(prior) for prior in both]
    assert spread[1] > 0.8 * spread[0]
    # Between what was drawn, 5 mm an axis, and what was expected before, 20 mm.
    assert 5 * 2**0.5 < spread[0] < 20 * 2**0.5


def relative_std(prior):
    """Of the first centre about the second, mm along x."""
    across = torch.zeros(12, dtype=torch.float64)
    across[0], across[3] = 1, -1
    return float((across @ prior.covariance @ across).sqrt())


@pytest.mark.parametrize('flat', [True, False])
def test_anatomies_below_the_scan_do_not_pull_those_in_it(flat):
    """Absent ones: their maps are flat, or have a peak somewhere and no presence."""
    below = np.array([[0.0, 0, -300 - 20 * n] for n in range(8)])
    generator = np.random.default_rng(0)
    centers = np.concatenate([PLACES, below]) + 5 * generator.normal(size=(60, 12, 3))
    made = SoftCenterHead(12, 8, 2)
    made.spacing.fill_(SPACING)
    made.read_centers(centers)
    where, presence = (torch.zeros(1, 12, *SHAPE[2:]) for _ in range(2))
    where[:, :4], presence[:, :4] = bumps(truth(), 14.0), 2.0
    presence[:, 4:] = -3.0
    if not flat:
        spots = torch.as_tensor(generator.uniform(8, 36, (1, 8, 3))).float()
        where[:, 4:] = bumps(spots, 14.0)
    boxes, _ = made.decode(SoftMaps(where, presence, torch.zeros_like(where)), SIZES)
    assert (boxes[0, :4, :3] - truth()[0]).norm(dim=-1).max() < 1
    expected = MIDDLE + torch.as_tensor(below[0]).float() / SPACING
    assert (boxes[0, 4, :3] - expected).norm() * SPACING < 20


def test_what_silent_maps_say_is_no_echo():
    prior = head(cohort()).prior
    where = torch.zeros(SHAPE)
    where[:, 0] = bumps(truth(), 14.0)[:, 0]
    probability, index = where.flatten(2).softmax(2).topk(128, 2)
    cells = torch.stack(torch.unravel_index(index, SHAPE[2:]), -1) * 2 * SPACING
    presence = torch.ones(1, 4)
    found = Candidates.of(cells, probability, presence, SIZES * SPACING)
    _, covariance = prior.expectations(found)
    assert covariance[0, 0].diagonal().min().sqrt() > 300  # of the only one that is seen
    assert covariance[0, 1].diagonal().max().sqrt() < 60


def test_a_checkpoint_brings_the_prior():
    loaded = head()
    loaded.load_state_dict(head(cohort()).state_dict())
    assert loaded.prior.is_filled
