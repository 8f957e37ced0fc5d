from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch

from massm.datasets.transforms import (
    LoadMasks,
    PackShapeInputs,
    RandomFieldOfView,
    RandomFlip,
    RandomIntensity,
    RandomMRIntensity,
    RandomRemoval,
    RandomWarp,
)
from massm.errors import ConfigError, DatasetError
from massm.ops import sample_volume
from massm.structures import AnatomyStatus, Grid

NAMES = ['kidney_left', 'kidney_right', 'sacrum']


def sample(seed=0, shape=(40, 36, 44)):
    """A volume with a small bright ball at every particle of two anatomies."""
    generator = np.random.default_rng(seed)
    local = generator.uniform(12, 24, (3, 6, 3)).astype(np.float32)
    local[2] = 0
    volume = np.zeros(shape, np.float32)
    index = np.stack(np.indices(shape), -1)
    for point in local[:2].reshape(-1, 3):
        volume += np.exp(-0.5 * ((index - point) ** 2).sum(-1) / 1.2**2)
    template = generator.normal(size=(3, 6, 3))
    return {
        'id': 'a',
        'image': 'a.nii',
        'anatomies': NAMES,
        'spacing': 3.0,
        'volume': volume.astype(np.float32),
        'grid': Grid(shape, np.diag([3.0, 3, 3, 1])),
        'local_vox': local,
        'has_box': np.array([True, True, False]),
        'has_shape': np.array([True, True, False]),
        'is_cut': np.zeros(3, dtype=bool),
        'counted': np.array([True, True, True]),
        'status': [AnatomyStatus.OK, AnatomyStatus.OK, AnatomyStatus.ABSENT],
        'template_world': template,
        # Numbered the other way round on a mirror image.
        'mirror_places': dict(zip(NAMES, template[[1, 0, 2], ::-1], strict=True)),
        'rng': np.random.default_rng(seed),
    }


def brightness(results, k):
    """Mean value of the volume at the particles of anatomy k."""
    points = torch.as_tensor(results['local_vox'][k]).view(1, -1, 1, 1, 3)
    return float(sample_volume(torch.as_tensor(results['volume'])[None, None], points).mean())


@pytest.mark.parametrize('seed', range(4))
def test_volume_and_particles_move_together(seed):
    before = sample(seed)
    want = [brightness(before, k) for k in (0, 1)]
    after = RandomWarp(rotation=10, scale=0.1, translation=2, bend=1.0, bend_spacing=12, prob=1)(
        sample(seed)
    )
    moved = np.abs(after['local_vox'][0] - before['local_vox'][0]).max()
    for k in (0, 1):
        if after['has_shape'][k]:
            assert moved > 1 and brightness(after, k) > 0.8 * want[k]


def test_forward_inverts_backward_and_the_grid_agrees(rng):
    warp = RandomWarp(bend=1.5).sample(rng, (40, 36, 44))
    points = torch.rand(100, 3) * torch.tensor([39.0, 35, 43])
    assert torch.allclose(warp.backward(warp.forward(points)), points, atol=1e-2)
    dense = warp.backward_grid()
    index = torch.tensor([[3, 4, 5], [39, 35, 43], [20, 0, 7]])
    at_index = dense[index[:, 0], index[:, 1], index[:, 2]]
    assert torch.allclose(at_index, warp.backward(index.float()), atol=1e-3)


def with_masks(results):
    """The same with masks of the bright voxels, the first two anatomies' alike."""
    bright = (results['volume'] > 0.2).astype(np.uint8)
    results['masks'] = np.stack([bright, bright, np.zeros_like(bright)])
    results['labelled'] = np.array([True, True, False])
    return results


def overlap(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.parametrize(
    'step',
    [
        RandomWarp(rotation=10, scale=0.1, translation=2, bend=1.0, bend_spacing=12, prob=1),
        RandomFieldOfView(prob=1),
        RandomFlip(pairs=[NAMES[:2]], midline=['sacrum'], prob=1),
    ],
    ids=lambda step: type(step).__name__,
)
def test_masks_move_as_the_volume_does(step):
    after = step(with_masks(sample()))
    assert after['masks'].shape == (3, *after['volume'].shape)
    assert after['masks'].min() >= 0 and after['masks'].max() <= 1
    assert overlap(after['masks'][0] > 0.5, after['volume'] > 0.2) > 0.85
    assert not after['masks'][2].any() and list(after['labelled']) == [True, True, False]
    packed = PackShapeInputs()(after)['data_samples']
    assert packed.masks.shape == after['masks'].shape and packed.labelled.tolist() == [1, 1, 0]


def cropped(results, first, last):
    return RandomFieldOfView().apply(results, np.array(first), np.array(last))


def test_what_the_field_of_view_cuts_is_known_to_be_cut_and_where_all_of_it_is():
    """Whole no more, but its particles stay; its channel counts while its middle is in view."""
    before = sample()
    height = before['local_vox'][0, :, 0]
    middle = (height.min() + height.max()) / 2
    for first, counts in ((int(middle), True), (int(middle) + 2, False)):
        cut = cropped(sample(), [first, 0, 0], [40, 36, 44])
        assert cut['volume'].shape == (40 - first, 36, 44)
        assert cut['is_cut'][0] and not cut['has_shape'][0] and not cut['has_box'][0]
        assert cut['counted'][0] == counts and cut['counted'][2] and not cut['is_cut'][2]
        packed = PackShapeInputs()(cut)['data_samples']
        assert packed.local_vox[0].numpy() == pytest.approx(before['local_vox'][0] - [first, 0, 0])
        assert packed.boxes[0].any() and not packed.world_mm[0].any()


def test_what_was_cut_once_stays_cut_and_what_left_the_volume_is_known_to_be_gone():
    low = int(sample()['local_vox'][0, :, 0].min()) + 2
    cut = cropped(sample(), [low, 0, 0], [40, 36, 44])
    back = RandomWarp(rotation=0, scale=0, translation=0, bend=0, prob=1)
    back = back.apply(cut, replace(back.sample(cut['rng'], cut['volume'].shape), shift=[-9, 0, 0]))
    assert back['local_vox'][0].min() > 0 and back['is_cut'][0] and not back['has_shape'][0]
    gone = cropped(sample(), [26, 0, 0], [40, 36, 44])
    assert gone['counted'].all() and not (gone['has_box'] | gone['is_cut']).any()
    cut = RandomFlip(pairs=[NAMES[:2]], midline=['sacrum'], prob=1)(
        cropped(sample(), [low, 0, 0], [40, 36, 44])
    )
    assert list(cut['is_cut']) == [True, True, False] and not cut['has_shape'].any()


def test_a_scan_ends_within_an_anatomy():
    step = RandomFieldOfView(prob=0, through=1)
    for seed in range(6):
        before = sample(seed)
        after = step(sample(seed))
        assert after['is_cut'].any() and after['volume'].shape[:2] == before['volume'].shape[:2]
        heights = after['local_vox'][after['is_cut'], :, 2]
        hidden = (heights < -0.5) | (heights > after['volume'].shape[2] - 0.5)
        assert hidden.any() and not hidden.all()
    nothing = sample()
    nothing['has_shape'][:] = False
    assert step(nothing)['volume'].shape == (40, 36, 44)


def test_an_anatomy_that_juts_out_below_leaves_the_volume_whole():
    """By as little as a rounded grid takes from it."""
    step = RandomFieldOfView(prob=0, through=1)
    for seed in range(20):
        thin = sample(seed)
        thin['local_vox'][:2, :, 2] = np.linspace(-1.5, 0.5, 6)
        assert step(thin)['volume'].shape[2] > 40


@pytest.mark.parametrize('cut_by', ['crop', 'warp'])
@pytest.mark.parametrize('flipped', [False, True])
def test_a_box_is_taught_where_the_whole_anatomy_is_in_the_volume_and_nowhere_else(cut_by, flipped):
    """However the sample was moved before."""
    results = sample()
    if flipped:
        results = RandomFlip(pairs=[NAMES[:2]], midline=['sacrum'], prob=1)(results)
    if cut_by == 'crop':
        low = int(results['local_vox'][0, :, 0].min()) + 2
        after = RandomFieldOfView().apply(results, np.array([low, 0, 0]), np.array([40, 36, 44]))
    else:
        after = RandomWarp(rotation=0, scale=0, translation=30, bend=0, prob=1)(results)
    targets = PackShapeInputs()(after)['data_samples']
    shape = torch.tensor(after['volume'].shape)
    assert not targets.has_box[0] and (cut_by == 'warp' or targets.is_cut[0])
    for k in range(3):
        low, high = targets.boxes[k, :3] - targets.boxes[k, 3:], targets.boxes[k].view(2, 3).sum(0)
        assert not targets.has_box[k] or ((low >= -0.5) & (high <= shape - 0.5)).all()
        assert targets.has_box[k] or not targets.has_shape[k]
        assert targets.has_box[k] or targets.is_cut[k] or not targets.boxes[k].any()


def test_a_crop_that_cuts_nothing_moves_nothing_in_the_image():
    before = sample()
    want = brightness(before, 0)
    cut = RandomFieldOfView().apply(sample(), np.array([4, 3, 2]), np.array([36, 34, 42]))
    assert cut['has_shape'][0] and brightness(cut, 0) == pytest.approx(want, abs=1e-5)


def test_flip_swaps_left_and_right_or_is_refused():
    flip = RandomFlip(pairs=[NAMES[:2]], midline=['sacrum'], prob=1)
    before, after = sample(), flip(sample())
    mirrored = before['local_vox'][0, ::-1].copy()
    mirrored[:, 0] = 39 - mirrored[:, 0]
    assert np.allclose(after['local_vox'][1], mirrored, atol=1e-4)
    assert brightness(after, 1) == pytest.approx(brightness(before, 0), abs=1e-5)
    packed = PackShapeInputs()(after)['data_samples']
    assert packed.has_box.tolist() == packed.has_shape.tolist() == [True, True, False]
    with pytest.raises(ConfigError, match='kidney_left has no mirror image'):
        RandomFlip(midline=['sacrum'], prob=1)(sample())
    left = RandomFlip(midline=['sacrum'], prob=1, unpaired='skip')(sample())
    assert left['has_shape'].sum() == 2 and (left['local_vox'] == before['local_vox']).all()
    with pytest.raises(ConfigError, match='sacrum is no mirror image of kidney_left'):
        RandomFlip(pairs=[('sacrum', 'kidney_left')])
    with pytest.raises(DatasetError, match='of kidney_left lie on a mirror image; run massm pdm'):
        RandomFlip(pairs=[NAMES[:2]], midline=['sacrum'], prob=1)({**sample(), 'mirror_places': {}})


@pytest.mark.parametrize('step', [RandomIntensity(prob=1), RandomMRIntensity(prob=1)])
def test_intensity_depends_on_the_samples_generator_alone(step):
    a, b = step(sample(1)), step(sample(1))
    assert np.array_equal(a['volume'], b['volume'])
    assert not np.array_equal(a['volume'], sample(1)['volume'])


def test_an_mr_stays_one_where_a_bias_field_and_another_contrast_act():
    """Bright tissue stays about 1000, dark stays dark, and nothing moves."""
    volume = np.zeros((40, 36, 44), np.float32)
    volume[8:30, 8:30, 8:30], volume[12:20, 12:20, 12:20] = 400, 1000
    changed = [
        RandomMRIntensity(noise=0, blur=0.1, prob=1)({'volume': volume, 'rng': rng})['volume']
        for rng in map(np.random.default_rng, range(6))
    ]
    for found in changed:
        bright, middle = found[13:19, 13:19, 13:19].mean(), found[22:28, 22:28, 22:28].mean()
        assert 500 < bright < 2000 and abs(found[:6]).mean() < 200 and bright > 1.5 * middle
        assert not np.allclose(found[13:19, 13:19, 13:19], bright, rtol=1e-3)  # the bias field
    assert np.std([found[25, 25, 25] for found in changed]) > 20


def test_packed_boxes_and_world_particles_fit_the_local_ones():
    results = sample()
    packed = PackShapeInputs()(results)
    targets = packed['data_samples']
    assert packed['inputs'].shape == (1, 40, 36, 44)
    low, high = results['local_vox'][0].min(0), results['local_vox'][0].max(0)
    assert np.allclose(targets.boxes[0], np.concatenate([(low + high) / 2, (high - low) / 2]))
    assert targets.boxes[2].abs().sum() == 0 and targets.world_mm[2].abs().sum() == 0
    world = targets.world_mm[0].double()
    local = torch.as_tensor(results['local_vox'][0]).double() * 3
    assert torch.allclose(torch.cdist(world, world), torch.cdist(local, local), atol=1e-3)
    assert torch.allclose(
        world.mean(0), torch.as_tensor(results['template_world'][0]).mean(0), atol=1e-4
    )


def test_a_removed_anatomy_is_absent_and_its_voxels_look_like_what_is_around(tmp_path):
    mask = np.zeros((40, 36, 44), np.uint8)
    mask[14:22, 14:22, 14:22] = 1
    path = tmp_path / 'mask.nii.gz'
    nibabel.save(nibabel.Nifti1Image(mask, np.diag([3.0, 3, 3, 1])), path)
    results = sample()
    results['volume'] = np.where(mask, 300.0, -100.0).astype(np.float32)
    results['mask'] = [path, path, None]
    results['masks'] = np.stack([mask, mask, np.zeros_like(mask)])
    removed = RandomRemoval(prob=1)(results)
    gone = [k for k in (0, 1) if not removed['has_shape'][k]]
    assert len(gone) == 1 and removed['counted'].all()
    assert not removed['has_box'][gone[0]]
    assert removed['status'][gone[0]] is AnatomyStatus.ABSENT
    assert not removed['masks'][gone[0]].any() and removed['masks'][1 - gone[0]].any()
    assert abs(removed['volume'][mask > 0].mean() + 100) < 5
    assert (removed['volume'][0] == -100).all()


def test_a_shape_that_came_without_a_mask_stays(tmp_path):
    mask = np.zeros((40, 36, 44), np.uint8)
    mask[14:22, 14:22, 14:22] = 1
    path = tmp_path / 'mask.nii.gz'
    nibabel.save(nibabel.Nifti1Image(mask, np.diag([3.0, 3, 3, 1])), path)
    for seed in range(4):
        results = {**sample(seed), 'mask': [None, path, None]}
        assert list(RandomRemoval(prob=1)(results)['has_box']) == [True, False, False]
    before = {**sample(), 'mask': [None] * 3}
    after = RandomRemoval(prob=1)({**sample(), 'mask': [None] * 3})
    assert np.array_equal(after['volume'], before['volume']) and after['has_box'].sum() == 2


def test_nothing_is_removed_by_a_mask_that_no_longer_fits():
    results = sample()
    results['mask'] = ['a.nii.gz', 'b.nii.gz', None]
    flipped = RandomFlip(pairs=[NAMES[:2]], midline=['sacrum'], prob=1)(results)
    with pytest.raises(ConfigError, match='move RandomRemoval before flips'):
        RandomRemoval(prob=1)(flipped)


def test_masks_are_loaded_and_what_nobody_contoured_is_not_labelled(tmp_path):
    mask = np.zeros((40, 36, 44), np.uint8)
    mask[4:9, 4:9, 4:9] = 1
    path = tmp_path / 'mask.nii.gz'
    nibabel.save(nibabel.Nifti1Image(mask, np.diag([3.0, 3, 3, 1])), path)
    results = sample()
    results['mask'] = [path, None, None]
    results['status'][1] = AnatomyStatus.UNLABELLED
    loaded = LoadMasks()(results)
    assert np.array_equal(loaded['masks'][0], mask) and not loaded['masks'][1:].any()
    assert list(loaded['labelled']) == [True, False, True]
