"""Masks to surfaces to particles, and the networks' masks."""

import shutil

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope

from massm.apis.config import load_config
from massm.cohort.manifest import load_manifest
from massm.cohort.shape_folder import forget_model, load_model
from massm.errors import ConfigError, DatasetError, ShapeError
from massm.io.nifti import read_mask
from massm.io.particles import read_particles
from massm.registry import DATASETS, MODELS
from massm.shape.metrics import mean_point_error
from massm.shape.reconstruction import largest_part
from massm.structures import Grid
from projects.unet.surfaces import mask_box, mask_particles, mean_shape_at
from projects.unet.unet_shapes import build_unet
from tests.conftest import ROOT, TINY_PARTICLES, TINY_SPACING

NAME = 'heart_ventricle_left'


@pytest.fixture(scope='module')
def subject(tiny_dataset):
    """Mask, grid and true particles of a patient, and the fixed model of the anatomy."""
    manifest = load_manifest(tiny_dataset)
    entry = next(
        s.anatomies[NAME] for s in manifest.of_split('train') if s.anatomies[NAME].has_particles
    )
    mask, grid = read_mask(manifest.path(entry.mask))
    model = load_model(tiny_dataset / 'shapes' / NAME)
    return mask, grid, read_particles(manifest.path(entry.local)), model


def test_the_true_mask_gives_nearly_the_true_particles(subject):
    """The dataset's particles are of the source's finer mask; this one is of 8 mm voxels."""
    mask, grid, true, model = subject
    found = mask_particles(mask, grid, model)
    mean = mean_shape_at(mask, grid, model)
    assert found.shape == (TINY_PARTICLES, 3)
    assert mean_point_error(found, true) < 0.7 * mean_point_error(mean, true)


def test_imported_particles_are_refused_before_training_and_not_after(tiny_dataset, tmp_path):
    init_default_scope('massm')
    root = shutil.copytree(tiny_dataset, tmp_path / 'dataset')
    forget_model(root / 'shapes' / NAME)  # as an import does
    options = {'data_root': str(root), 'num_particles': TINY_PARTICLES, 'spacing': TINY_SPACING}
    config = load_config(
        ROOT / 'projects/unet/configs/unet_all.py', {**options, 'anatomies': ['spleen', NAME]}
    )
    network = MODELS.build({**config.model, 'network': {'type': 'UNet', 'channels': (4, 8)}})
    with pytest.raises(DatasetError, match=f'{NAME}: its particles were imported'):
        network.init_weights()


def test_a_moved_mask_gives_moved_particles(subject):
    mask, grid, _, model = subject
    moved = Grid(grid.shape, grid.affine + np.array([[0, 0, 0, 9.0]] + 3 * [4 * [0.0]]))
    shift = mask_particles(mask, moved, model) - mask_particles(mask, grid, model)
    assert np.allclose(shift, [9.0, 0, 0], atol=0.2)


def test_what_has_no_shape_says_so_and_the_mean_shape_lies_where_it_is(subject):
    _, grid, _, model = subject
    nothing = np.zeros(grid.shape, dtype=bool)
    with pytest.raises(ShapeError, match='a mask of 0 voxels has no shape'):
        mask_particles(nothing, grid, model)
    one = nothing.copy()
    one[3, 4, 5] = True
    placed = mean_shape_at(one, grid, model)
    assert np.allclose((placed.min(0) + placed.max(0)) / 2, grid.to_patient(np.array([3, 4, 5.0])))


def test_boxes_are_the_extent_of_the_voxels_and_of_parts_the_largest_is_kept():
    shares = np.zeros((9, 9, 9), dtype=np.float16)
    shares[2:5, 1:3, 4] = 0.9
    shares[5, 1:3, 4] = 0.4
    shares[8, 8, 8] = 1.0
    kept = largest_part(shares)
    assert (kept > 0.5).sum() == 6 and (kept > 0).sum() == 8
    assert np.allclose(mask_box(kept), [3, 1.5, 4, 1.5, 1, 0.5])
    assert not mask_box(largest_part(np.zeros((9, 9, 9)))).any()


@pytest.fixture(scope='module')
def build(tiny_dataset):
    init_default_scope('massm')

    def make(name):
        options = {
            'data_root': str(tiny_dataset),
            'anatomies': [NAME, 'spleen'],
            'spacing': TINY_SPACING,
            'num_particles': TINY_PARTICLES,
            'model.network.channels': [4, 8, 16, 16, 16],
        }
        config = load_config(ROOT / f'projects/unet/configs/{name}.py', options)
        torch.manual_seed(0)
        model = MODELS.build(config.model)
        model.init_weights()
        return config, model

    return make


@pytest.mark.parametrize(
    'name, networks', [('unet_all', 1), ('unet_per_anatomy', 2), ('dynunet_all', 1)]
)
def test_every_variant_learns_from_what_is_labelled_and_always_draws_something(
    build, name, networks
):
    config, model = build(name)
    assert len(model.networks) == networks
    dataset = DATASETS.build(config.train_dataloader.dataset)
    items = [dataset[0], dataset[1]]
    data = model.data_preprocessor({key: [item[key] for item in items] for key in items[0]}, True)
    for sample in data['data_samples']:
        sample.labelled[1] = False
    model(**data, mode='loss')['loss_masks'].backward()
    assert model.first_logit.grad[0].abs() > 0 and model.first_logit.grad[1] == 0
    with torch.no_grad():
        model.first_logit.fill_(-30.0)
        found = model.eval()(**data, mode='predict')
    for sample in found:
        assert sample.pred_masks.shape == (2, *sample.image_shape)
        assert sample.pred_masks.flatten(1).any(1).all() and sample.scores.max() < 0.5
        assert (sample.pred_boxes[:, 3:] > 0).all() and 'pred_local_vox' not in sample


def test_a_test_adds_particles_in_both_frames(build):
    config, model = build('unet_all')
    dataset = DATASETS.build(config.test_dataloader.dataset)
    item = dataset[0]
    true = item['data_samples']
    k = int(true.has_shape.nonzero()[0])

    def drawn(inputs, data_samples, mode):
        sample = data_samples[0]
        nothing = np.zeros(sample.image_shape)
        masks = [read_mask(path)[0] if path else nothing for path in sample.mask]
        sample.pred_masks = torch.as_tensor(np.stack(masks) > 0)
        return [sample]

    model.forward = drawn
    found = model.test_step({key: [item[key]] for key in item})[0]
    local = TINY_SPACING * (found.pred_local_vox[k] - true.local_vox[k]).norm(dim=-1).mean()
    world = (found.pred_world_mm[k] - true.world_mm[k]).norm(dim=-1).mean()
    assert local < 6 and world < 6


def test_another_network_is_one_sentence():
    with pytest.raises(ConfigError, match='must be UNet or DynUNet'):
        build_unet({'type': 'VNet', 'channels': (4, 8)}, 1, 1)
