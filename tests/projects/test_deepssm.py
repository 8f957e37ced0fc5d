"""DeepSSM's parts by laws, and the whole model on the tiny cohort."""

import copy
import logging

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope

from massm.apis.config import load_config
from massm.errors import ConfigError
from massm.io.nifti import volume_grid
from massm.io.particles import read_particles
from massm.ops import sample_volume
from massm.registry import DATASETS, MODELS
from massm.shape.pdm import PointDistributionModel
from massm.structures import RigidTransform
from projects.deepssm.canvas import (
    aligned,
    canvas_points,
    seen,
    whole,
    whole_canvas,
    whole_cell_mm,
)
from projects.deepssm.hooks import DeepSSMPreparationHook, DeepSSMStageHook
from projects.deepssm.image_encoder import ImageEncoder, encoded_size, smallest_size
from projects.deepssm.shape_decoders import ParticleAutoencoder, PCADecoder, needed_modes
from tests.conftest import ROOT, TINY_PARTICLES, TINY_SPACING

NAMES = ['heart_ventricle_left', 'spleen']


@pytest.fixture
def shapes(rng):
    flat = rng.normal(size=(12, 3)) @ rng.normal(size=(3, 30)) * 5 + rng.normal(size=30) * 20
    return PointDistributionModel.fit(flat.reshape(12, 10, 3)), flat.reshape(12, 10, 3)


def test_the_encoder_takes_the_size_it_was_made_for_and_says_what_is_too_small():
    size = (smallest_size(), 62, 70)
    encoder = ImageEncoder(2, size, 7)
    assert encoder(torch.randn(2, 2, *size)).shape == (2, 7)
    # 60 voxels: 56/2 = 28, 20/2 = 10, 2/2 = 1.
    assert smallest_size() == 60 and encoded_size(96) == 5
    with pytest.raises(ConfigError, match='at least 60 voxels'):
        ImageEncoder(1, (59, 64, 64), 4)


def test_the_decoder_begins_as_the_principal_components(shapes):
    model, known = shapes
    own = model.truncate(needed_modes(model))
    assert 1 <= len(own) <= 3
    decoder = PCADecoder(6, 10)
    decoder.fit(own)
    nothing = torch.zeros(1, 6)
    assert np.allclose(decoder(nothing)[0].detach(), model.mean, atol=1e-4)
    scores = torch.randn(12, 6)  # those beyond the modes are without effect
    scores[:, : len(own)] = torch.as_tensor(own.coefficients(known))
    assert np.allclose(decoder(scores).detach(), own.project(known), atol=1e-2)
    assert decoder.size == pytest.approx((known - known.mean(0)).std(ddof=0), rel=0.2)
    decoder(scores.requires_grad_(), frozen=True).sum().backward()
    assert decoder.layer.weight.grad is None and scores.grad.any()


def test_the_autoencoder_counts_from_the_mean_in_units_of_the_spread(shapes):
    model, known = shapes
    auto = ParticleAutoencoder(5, 10, hidden=(16, 8))
    auto.fit(model)
    assert auto.size == pytest.approx((known - known.mean(0)).std(ddof=0), rel=0.1)
    offsets = torch.randn(12, 30)
    moved = torch.as_tensor(model.mean).float() + (auto.size * offsets).view(12, 10, 3)
    assert torch.allclose(auto.scores(moved), auto.encoder(offsets), atol=1e-4)
    assert auto(auto.scores(moved)).shape == (12, 10, 3)


def test_the_autoencoder_of_one_shape_again_and_again_knows_no_other(shapes):
    _, known = shapes
    auto = ParticleAutoencoder(5, 10, hidden=(16, 8))
    auto.fit(PointDistributionModel.fit(known[[0, 0, 0]]))
    found = auto(torch.randn(4, 5)).detach()
    assert np.allclose(found, known[0], atol=0.02)


def test_a_whole_canvas_shows_the_scan_about_its_middle_and_inverts():
    volume = torch.arange(6.0 * 5 * 4).view(1, 1, 6, 5, 4)
    place = whole(torch.tensor([[6, 5, 4]]), 3.0)
    image = seen(volume, place, canvas_points((6, 5, 4), torch.tensor(3.0), place.middle))
    assert torch.allclose(image, volume, atol=1e-3)
    points = torch.rand(1, 7, 3) * 5
    assert torch.allclose(place.to_voxel(place.to_canvas(points)), points, atol=1e-4)
    sizes = np.array([[10, 40, 20], [30, 20, 10]])
    assert whole_cell_mm(sizes, (60, 60, 60), 3.0) == pytest.approx(2.0)


def test_places_keep_their_precision_under_autocast(shapes):
    """bfloat16 tells 200 voxels from 201 at best."""
    decoder = PCADecoder(3, 10)
    decoder.fit(shapes[0])
    scores = torch.randn(2, 3)
    points = 300 * torch.rand(2, 50, 3)
    placement = whole(torch.tensor([[130, 140, 150], [100, 90, 200]]), 2.0)
    plain = decoder(scores), placement.to_voxel(points), placement.to_canvas(points)
    with torch.autocast('cpu', torch.bfloat16):
        told = decoder(scores), placement.to_voxel(points), placement.to_canvas(points)
    assert all(torch.equal(a, b) for a, b in zip(plain, told, strict=True))


def test_a_canvas_of_so_many_voxels_suits_the_scans():
    sizes = np.array([[150, 80, 20], [100, 82, 96]])
    x, y, z = shape = whole_canvas(sizes, 350_000, 60)
    assert 0.97 * 350_000 < x * y * z <= 350_000 and min(shape) == 60
    assert whole_cell_mm(sizes, shape, 4.0) == pytest.approx(150 / x * 4)
    assert whole_canvas(sizes, 10**7, 60) == (150, 82, 96)  # no finer than the scans
    with pytest.raises(ConfigError, match='at least 216000 voxels'):
        whole_canvas(sizes, 100_000, 60)


def test_local_particles_have_as_many_scores_of_shape_as_world_ones_and_six_of_pose(build):
    kept = {}
    for name in ('deepssm_l', 'deepssm_full_w'):
        _, model, dataset = build(name)
        from_middle, world = stored_shapes(dataset, 0)
        kept[name] = model._scores_of(0, from_middle if name == 'deepssm_l' else world)
    assert kept['deepssm_l'] == kept['deepssm_full_w'] + 6


def test_an_aligned_canvas_shows_a_turned_patient_as_the_unturned_one(rng):
    """Turning and moving the patient changes nothing of what the network sees, nor of where its
    particles come out in the image."""
    from scipy.spatial.transform import Rotation

    world = rng.normal(size=(9, 3)) * 4
    turn = Rotation.from_euler('xyz', [30, -20, 50], degrees=True).as_matrix()
    motion = RigidTransform.from_parts(turn, np.array([30.0, 28, 33]))
    middle = torch.tensor([1.0, 2.0, -1.0])
    local_vox = torch.as_tensor(motion.apply(world) / 2, dtype=torch.float32)[None]
    place = aligned(local_vox, torch.as_tensor(world, dtype=torch.float32)[None], middle, 2.0)
    back = place.to_voxel(torch.as_tensor(world, dtype=torch.float32)[None])
    assert torch.allclose(back, local_vox, atol=1e-3)

    grid = torch.stack(torch.meshgrid(*[torch.arange(32.0)] * 3, indexing='ij'), -1)
    turned = motion.inverse().apply(2 * grid.numpy().reshape(-1, 3)).reshape(32, 32, 32, 3)
    pattern = torch.as_tensor(np.sin(turned / 6).sum(-1), dtype=torch.float32)[None, None]
    points = canvas_points((8, 8, 8), torch.tensor(1.5), middle)
    expected = np.sin(points.numpy() / 6).sum(-1)
    assert np.allclose(seen(pattern, place, points)[0, 0], expected, atol=0.05)
    assert sample_volume(pattern, local_vox[:, :, None, None]).shape[-3] == 9


@pytest.fixture(scope='module')
def build(tiny_dataset):
    """``build(config, decoder)``: config, model and dataset of the tiny cohort."""
    init_default_scope('massm')
    made = {}

    def make(name):
        options = {
            'data_root': str(tiny_dataset),
            'anatomies': NAMES,
            'spacing': TINY_SPACING,
            'num_particles': TINY_PARTICLES,
        }
        config = load_config(ROOT / f'projects/deepssm/configs/{name}.py', options)
        config.model.canvas = (60, 60, 60) if name.endswith('_w') else 60**3
        if 'dataset' not in made:
            made['dataset'] = DATASETS.build(config.train_dataloader.dataset)
        torch.manual_seed(0)
        model = MODELS.build(copy.deepcopy(config.model))
        model.init_weights()
        return config, model, made['dataset']

    return make


def stored_shapes(dataset, k):
    """An anatomy's training shapes as their files have them, mm: local ones ``[N, M, 3]`` counted
    from the middle of their volume, and world ones."""
    manifest = dataset.manifest
    local, world = [], []
    for subject in manifest.of_split('train'):
        entry = subject.anatomies[NAMES[k]]
        if entry.has_particles:
            grid = volume_grid(manifest.path(subject.image))
            middle = grid.to_patient((np.array(grid.shape) - 1) / 2)
            local.append(read_particles(manifest.path(entry.local)) - middle)
            world.append(read_particles(manifest.path(entry.world)))
    return np.stack(local).astype(np.float64), np.stack(world).astype(np.float64)


class Runner:
    """What the hooks use of a runner."""

    def __init__(self, model, dataset):
        from mmengine.logging import MMLogger

        self.model, self.epoch = model, 0
        self.logger = MMLogger.get_instance('deepssm-test')
        self.train_dataloader = type('Loader', (), {'dataset': dataset})


@pytest.mark.parametrize('name', ['deepssm_l', 'deepssm_full_w', 'deepssm_w', 'tl_deepssm_w'])
def test_every_variant_learns_in_every_stage_and_predicts_what_it_should(build, name):
    _, model, dataset = build(name)
    runner = Runner(model, dataset)
    DeepSSMPreparationHook().before_train(runner)
    assert bool(model.is_prepared)
    items = [dataset[0], dataset[1]]
    batch = {key: [item[key] for item in items] for key in items[0]}
    data = model.data_preprocessor(batch, True)
    hook = DeepSSMStageHook([0, 1, 2][: len(model.stages)])
    for epoch, stage in enumerate(model.stages):
        runner.epoch = epoch
        hook.before_train_epoch(runner)
        assert model.stage == stage
        losses = model(**data, mode='loss')
        loss = losses[f'loss_{stage}']
        assert torch.isfinite(loss) and loss > 0
        model.zero_grad()
        loss.backward()
        taught = any(p.grad is not None for p in model.decoders.parameters())
        assert taught == (stage not in ('encoder', 'latent'))
    model.eval()
    with torch.no_grad():
        found = model(**data, mode='predict')
    assert ('pred_local_vox' in found[0]) == (name != 'deepssm_full_w')
    assert found[0].pred_world_mm.shape == (len(NAMES), TINY_PARTICLES, 3)


def test_scores_of_zero_give_the_mean_shape_where_it_lies(build):
    """DeepSSM.l of an encoder that says nothing: the mean of the training patients' particles,
    counted from the middle of the volume."""
    _, model, dataset = build('deepssm_l')
    DeepSSMPreparationHook().before_train(Runner(model, dataset))
    for encoder in model.encoders:
        encoder.layers[-1].weight.data.zero_()
        encoder.layers[-1].bias.data.zero_()
    item, k = dataset[0], 1
    data = model.data_preprocessor({key: [item[key]] for key in item}, False)
    with torch.no_grad():
        found = model.eval()(**data, mode='predict')[0]
    mean = torch.as_tensor(stored_shapes(dataset, k)[0].mean(0) / TINY_SPACING).float()
    expected = mean + (torch.tensor(found.image_shape) - 1) / 2
    assert torch.allclose(found.pred_local_vox[k], expected, atol=1e-3)


@pytest.mark.parametrize('name', ['deepssm_l', 'deepssm_full_w', 'deepssm_w'])
def test_the_canvas_shows_every_training_shape_and_is_no_larger(build, name):
    """An aligned one each anatomy and a margin of 10 mm; a whole one every scan."""
    _, model, dataset = build(name)
    DeepSSMPreparationHook().before_train(Runner(model, dataset))
    for k, cell in enumerate(model.cell_mm):
        half = (cell * torch.tensor(model.canvas) / 2).numpy()
        from_middle, world = stored_shapes(dataset, k)
        if name == 'deepssm_w':
            reach = np.abs(world - model.middle_mm[k].numpy()).max((0, 1)) + model.margin_mm
            assert model.margin_mm == 10
        else:
            reach = dataset.sizes().max(0) * TINY_SPACING / 2
            assert (np.abs(from_middle) < half).all()
        assert (reach / half).max() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize('name', ['deepssm_l', 'deepssm_w', 'tl_deepssm_w'])
def test_an_anatomy_that_a_patient_lacks_costs_nothing(build, name):
    _, model, dataset = build(name)
    DeepSSMPreparationHook().before_train(Runner(model, dataset))
    model.eval()
    item = next(i for i in dataset if i['data_samples'].has_shape.all())
    bare = copy.deepcopy(item)
    for key in ('local_vox', 'world_mm', 'has_shape'):
        getattr(bare['data_samples'], key).zero_()
    for stage in model.stages:
        model.stage, found = stage, []
        for items in ([item], [item, bare], [bare]):
            batch = {key: [copy.deepcopy(i[key]) for i in items] for key in item}
            data = model.data_preprocessor(batch, True)
            found.append(float(model(**data, mode='loss')[f'loss_{stage}'].detach()))
        assert found[1] == pytest.approx(found[0], rel=1e-4) and found[2] == 0 < found[0]


def test_settings_that_do_not_go_together_are_one_sentence(build):
    config, _, _ = build('deepssm_w')
    config.model.frame = 'local'
    with pytest.raises(ConfigError, match='an aligned view has no local frame'):
        MODELS.build(config.model)
    _, model, dataset = build('deepssm_w')
    with pytest.raises(ConfigError, match='begins must give an epoch for each'):
        DeepSSMStageHook([0, 1, 2]).before_train(Runner(model, dataset))


def test_a_stage_that_never_comes_is_told(build, caplog):
    _, model, dataset = build('deepssm_w')
    runner = Runner(model, dataset)
    runner.max_epochs, runner.logger = 3, logging.getLogger()
    DeepSSMStageHook([0, 2]).before_train(runner)
    assert not caplog.messages
    DeepSSMStageHook([0, 3]).before_train(runner)
    assert 'begins after 3 epochs and the training ends after 3: it never comes' in caplog.text
