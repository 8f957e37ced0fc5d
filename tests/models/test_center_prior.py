"""What one map leaves open, the other anatomies decide."""

import numpy as np
import pytest
import torch

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


def test_a_cohort_in_which_one_anatomy_is_never_seen():
    centers = cohort()
    centers[:, 1] = np.nan
    assert (found(head(centers), bumps(truth(), 14.0)) - truth()).norm(dim=-1).max() < 1


def test_a_checkpoint_brings_the_prior():
    loaded = head()
    loaded.load_state_dict(head(cohort()).state_dict())
    assert loaded.prior.is_filled
