"""The network that fits shapes to the image, through the real commands' functions."""

import copy
import json

import pytest
import torch
from mmengine.registry import init_default_scope

from massm.apis.checkpoints import check_weights
from massm.apis.config import load_config
from massm.apis.export_network import export_network
from massm.apis.test import test as run_test
from massm.apis.train import train
from massm.engine.hooks.filter_fit_hook import TrainingCases, for_filters
from massm.engine.hooks.score_threshold_hook import _scores
from massm.errors import CheckpointError, ConfigError
from massm.inference.inferencer import MASSMInferencer
from massm.inference.model_directory import SIZES, export_model, read_model
from massm.models.shape_fit.profiles import Seen
from massm.registry import DATASETS, MODELS
from massm.structures.shape_sample import ShapeSample
from massm.visualization.packed import unpack
from massm.visualization.report import write_report
from massm.visualization.thinning import thin
from tests.conftest import ROOT, TINY_PARTICLES, TINY_SPACING
from tests.visualization.pages import told


@pytest.fixture(scope='module')
def config(tiny_dataset):
    return load_config(
        ROOT / 'configs/massm_fit_headneck.py',
        {
            'data_root': str(tiny_dataset),
            'anatomies': ['heart_ventricle_left', 'spleen'],
            'spacing': TINY_SPACING,
            'num_particles': TINY_PARTICLES,
            'model.backbone.base_channels': 8,
            'model.neck.out_channels': 8,
            'model.dense_head.feat_channels': 8,
            'model.local_head.region': {'cells': 8, 'margin': 12.0, 'channels': (8, 8)},
            'model.local_head.test_starts': 3,
            'custom_hooks.FilterFitHook.samples': 1,
            'model.local_head.prior': {'modes': 4, 'bends': 8},
            'train_dataloader.num_workers': 0,
            'train_dataloader.persistent_workers': False,
            'val_dataloader.num_workers': 0,
            'val_dataloader.persistent_workers': False,
            'test_dataloader.num_workers': 0,
            'train_cfg.max_epochs': 2,
            'train_cfg.val_interval': 2,
            'log_level': 'WARNING',
        },
    )


@pytest.fixture(scope='module')
def work(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp('fit')
    train(config, str(folder))
    return folder


def test_one_command_trains_detector_and_fit_and_tests_them(config, work):
    checkpoint = torch.load(work / 'epoch_2.pth', weights_only=False)['state_dict']
    assert checkpoint['local_head.prior.basis'].abs().sum() > 0
    for r in range(4):
        assert checkpoint[f'local_head.filters.{r}.weight'].abs().sum() > 0
    assert checkpoint['local_head.region_network.bias'].abs().min() > 0
    assert checkpoint['dense_head.prior.covariance'].abs().sum() > 0
    assert (checkpoint['local_head.deviation_factor'] != 1).all()
    result = run_test(config, str(work / 'epoch_2.pth'), str(work))
    assert 0 < result.metrics['mean']['local_rmse_mm'] < 200
    assert result.metrics['mean']['world_rmse_mm'] < 60
    assert (
        0 <= result.metrics['mean']['within_1_std'] <= result.metrics['mean']['within_2_std'] <= 1
    )
    assert 0 <= result.metrics['mean']['dice_drawn_mask'] <= 1


def test_the_learning_rate_falls_to_its_end_in_as_many_epochs_as_there_are(config, work):
    """One setting, ``train_cfg.max_epochs``, decides both."""
    schedules = torch.load(work / 'epoch_2.pth', weights_only=False)['param_schedulers']
    assert schedules[-1]['T_max'] == config.train_cfg.max_epochs == 2


def trained_model(config, work):
    init_default_scope('massm')
    model = MODELS.build({**config.model, 'template_root': None})
    model.load_state_dict(torch.load(work / 'epoch_2.pth', weights_only=False)['state_dict'])
    return model.eval()


@pytest.mark.parametrize('weighs', [True, False])
def test_scores_count_as_far_as_the_volume_bears_the_shapes_out(config, work, weighs):
    model = trained_model(config, work)
    model.local_head.weighs_scores = weighs
    volume, sizes = torch.rand(1, 3, 32, 32, 32), torch.tensor([[32, 32, 20]])
    with torch.no_grad():
        found = model.predict_batch(volume, sizes).scores
        _, boxes, scores = model.detect(volume, sizes)
        seen = Seen.of_scan(volume, sizes)
        support = model.local_head.predict(seen, boxes[..., :3]).support
        assert torch.allclose(model.scores(volume, sizes), found)
    assert (support < 1).all()
    assert torch.allclose(found, (scores * support).sqrt() if weighs else scores)


@pytest.mark.parametrize('weighs', [True, False])
def test_the_threshold_is_chosen_of_the_scores_that_are_predicted(config, work, weighs):
    model = trained_model(config, work)
    model.local_head.weighs_scores = weighs
    scan = 1000 * torch.rand(1, 32, 32, 24)
    inputs = model.data_preprocessor({'inputs': [scan]})['inputs']
    with torch.no_grad():
        predicted = model.predict_batch(inputs, torch.tensor([[32, 32, 24]])).scores[0]
    assert torch.allclose(_scores(model, scan), predicted)


def test_weights_of_before_scores_were_weighed_are_refused(config, work):
    """Their threshold is of the detector's scores."""
    checkpoint = torch.load(work / 'epoch_2.pth', weights_only=False)
    assert checkpoint['state_dict'].pop('local_head.region_taught').all()
    with pytest.raises(CheckpointError, match='trained with another network'):
        check_weights(trained_model(config, work), checkpoint, 'old.pth')


def test_no_uncertainty_is_told_that_no_validation_has_calibrated(config, work):
    model = trained_model(config, work)
    sample = ShapeSample()
    sample.pred_deviation_mm = torch.ones(2, TINY_PARTICLES)
    inferencer = MASSMInferencer.__new__(MASSMInferencer)
    inferencer.model = model
    assert inferencer._uncertainty(sample, 0).usual_mm > 0
    model.local_head.deviation_factor[0] = 1.0
    assert inferencer._uncertainty(sample, 0) is None


def test_filters_know_all_of_an_anatomy_that_their_sample_cuts(config, work):
    source = copy.deepcopy(config.train_dataloader.dataset)
    cut = {'type': 'RandomFieldOfView', 'prob': 0.0, 'through': 1.0}
    source.pipeline = [{'type': 'LoadVolume'}, {'type': 'LoadParticles'}, cut]
    source.pipeline.append({'type': 'PackShapeInputs'})
    model, dataset = trained_model(config, work), for_filters(DATASETS.build(source))
    cases = list(TrainingCases(model, dataset, passes=2)())
    spacing, seen = model.spacing, 0
    for case in cases:
        shown = case.seen.shows(case.local_mm[None] / spacing)[0]
        is_cut = shown.any(1) & ~shown.all(1)
        assert case.known[is_cut].all()
        middle = (case.local_mm.amin(1) + case.local_mm.amax(1)) / 2
        assert torch.allclose(case.centers_mm[is_cut], middle[is_cut], atol=1e-3)
        seen += int(is_cut.sum())
    assert seen > len(cases) / 2


def test_filters_learn_from_the_same_samples_whoever_draws_them(config, work):
    dataset = for_filters(DATASETS.build(config.train_dataloader.dataset))
    model = trained_model(config, work)
    alone = list(TrainingCases(model, dataset, passes=2)())
    drawn = TrainingCases(model, dataset, passes=2, workers=2)
    for _ in range(2):
        for one, other in zip(alone, drawn(), strict=True):
            assert torch.equal(one.seen.images, other.seen.images)
            assert torch.equal(one.local_mm, other.local_mm)
            assert (one.seed, one.subject) == (other.seed, other.subject)


def test_the_exported_model_gives_what_the_checkpoint_gives(config, work, tiny_source, tmp_path):
    """Shape models travel in the weights: no dataset is needed to infer."""
    export_model(config, work / 'epoch_2.pth', tmp_path / 'model')
    settings = json.loads((tmp_path / 'model/config.json').read_text())['model']
    assert 'template_root' not in settings
    image = tiny_source / 's0000/ct.nii.gz'
    one = MASSMInferencer(config, str(work / 'epoch_2.pth'), device='cpu')(image)[0]
    other = MASSMInferencer(tmp_path / 'model', device='cpu')(image)[0]
    for a, b in zip(one.shapes, other.shapes, strict=True):
        assert (a.uncertainty_mm == b.uncertainty_mm).all() and (a.uncertainty_mm > 0).all()
        assert (a.local_mm == b.local_mm).all() and (a.world_mm == b.world_mm).all()


def test_a_model_whose_training_had_not_ended_says_so(config, work, tmp_path):
    checkpoint = torch.load(work / 'epoch_2.pth', weights_only=False)
    checkpoint['state_dict']['local_head.filters.3.weight'].zero_()
    torch.save(checkpoint, tmp_path / 'early.pth')
    for path, said in ((work / 'epoch_2.pth', False), (tmp_path / 'early.pth', True)):
        export_model(config, path, tmp_path / 'model', limits='Not for cats.')
        limits = json.loads((tmp_path / 'model/metadata.json').read_text())['limits']
        assert ('Training had not ended' in limits) == said and limits.endswith('Not for cats.')


def test_a_model_over_another_leaves_what_is_not_of_a_model(config, work, tmp_path, monkeypatch):
    out, checkpoint = tmp_path / 'model', work / 'epoch_2.pth'
    export_model(config, checkpoint, out)
    (out / 'notes.txt').write_text('mine')
    before = {p: p.read_bytes() for p in out.rglob('*') if p.is_file()}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr('massm.inference.model_directory.model_card', interrupt)
        export_model(config, checkpoint, out, size='small')
    assert {p: p.read_bytes() for p in out.rglob('*') if p.is_file()} == before
    export_model(config, checkpoint, out, size='small')
    assert (out / 'notes.txt').read_text() == 'mine' and not list(out.rglob('*.ply'))
    assert not list(tmp_path.glob('.partial-*')) and read_model(out).build()


def interrupt(metadata):
    raise KeyboardInterrupt


def test_smaller_models_move_nothing_that_shows(config, work, tiny_source, tmp_path):
    """By half precision little, by eight bits less than a quarter of a voxel: the fit from the same
    centres, and the scores of a detector that two epochs leave never sure."""
    image = tiny_source / 's0000/ct.nii.gz'
    found, sizes, centers = [], [], None
    for size in SIZES:
        out = tmp_path / size
        export_model(config, work / 'epoch_2.pth', out, size=size)
        sizes.append((out / 'model.safetensors').stat().st_size)
        infer = MASSMInferencer(out, device='cpu')
        assert len(infer(image)[0].shapes) == len(infer.model.anatomies)
        item = infer._load(image)
        volume = infer.model.data_preprocessor({'inputs': [item['inputs']]})['inputs']
        extent = torch.tensor([item['data_samples'].image_shape])
        with torch.no_grad():
            _, boxes, scores = infer.model.detect(volume, extent)
            centers = boxes[..., :3] if centers is None else centers
            fit = infer.model.local_head.predict(Seen.of_scan(volume, extent), centers)
        found.append((fit.local_vox * TINY_SPACING, scores))
    with pytest.raises(ConfigError, match='fits shapes to the image, which cannot be written'):
        export_network(read_model(tmp_path / 'small').build(), (64, 64, 64), tmp_path / 'a.onnx')
    assert sizes[1] < 0.7 * sizes[0] and sizes[2] < 0.7 * sizes[1]
    (whole, sure), *smaller = found
    for (shapes, scores), bound in zip(smaller, (0.3, TINY_SPACING / 4), strict=True):
        assert (whole - shapes).abs().max() < bound and (sure - scores).abs().max() < 0.02


def test_the_report_colours_surfaces_by_how_uncertain_they_are(config, work, tiny_source, tmp_path):
    infer = MASSMInferencer(config, str(work / 'epoch_2.pth'), device='cpu', score_threshold=0.0)
    result = infer(tiny_source / 's0000/ct.nii.gz')[0]
    write_report(tmp_path / 'report.html', 'patient', result)
    page = (tmp_path / 'report.html').read_text(encoding='utf-8')
    measure = told(page, 'scene')['measures'][-1]
    assert measure['title'] == 'uncertainty of the surface, mm' and measure['range'][0] == 0
    found = [shape for shape in result.shapes if shape.is_present]
    assert len(measure['values']) == len(found) > 0
    for values, shape in zip(measure['values'], found, strict=True):
        kept = thin(shape.mesh, len(found)).kept
        assert unpack(values) == pytest.approx(shape.uncertainty_mm[kept].tolist(), abs=0.006)
