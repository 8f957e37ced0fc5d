"""Training, validation and fitting of filters with the network on a GPU, which is pretended."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope

from massm.apis.config import load_config
from massm.engine.hooks import CalibrationHook, ScoreThresholdHook, score_threshold_hook
from massm.engine.hooks.filter_fit_hook import TrainingCases
from massm.engine.shape_filter_training import FilterFit
from massm.evaluation.case_prediction import case_prediction
from massm.evaluation.detection_metric import detection_rows
from massm.models import template_bank
from massm.models.shape_network import DEFAULT_THRESHOLD
from massm.registry import MODELS
from massm.structures.shape_sample import ShapeSample
from tests.conftest import ROOT
from tests.elsewhere import ELSEWHERE, Elsewhere, move_elsewhere
from tests.engine.test_hooks import runner_without_validation
from tests.models.test_shape_fit import PARTICLES, make_template

SPACING, SIZE = 4.0, 36
SMALL = {
    'data_root': 'none',
    'anatomies': ['blob', 'lump'],
    'num_particles': PARTICLES,
    'spacing': SPACING,
    'model.backbone.base_channels': 8,
    'model.neck.out_channels': 8,
    'model.dense_head.feat_channels': 8,
}
OF_FIT = {
    'model.local_head.region': {'cells': 8, 'margin': 12.0, 'channels': (8, 8)},
    'model.local_head.prior': {'modes': 4, 'bends': 8},
    'model.local_head.test_starts': 2,
}
FIT, PAPER = 'configs/massm_fit_headneck.py', 'configs/massm_r18_paper.py'


def make_sample(seed):
    """A volume of noise, and a shape in its middle that is whole, another that is cut."""
    sample = ShapeSample()
    points = torch.as_tensor(make_template(seed).local).float() / SPACING + SIZE / 2
    low, high = points.amin(0), points.amax(0)
    box = torch.cat([(low + high) / 2, (high - low) / 2])
    sample.local_vox, sample.boxes = torch.stack([points] * 2), torch.stack([box] * 2)
    sample.world_mm = SPACING * sample.local_vox
    sample.has_shape = sample.has_box = torch.tensor([True, False])
    sample.is_cut, sample.counted = torch.tensor([False, True]), torch.tensor([True, True])
    sample.forcing_draw = torch.rand(1)
    sample.masks = torch.zeros(2, SIZE, SIZE, SIZE)
    sample.masks[:, 8:24, 8:24, 8:24] = 1.0
    sample.labelled = torch.tensor([True, True])
    told = {'id': str(seed), 'anatomies': ['blob', 'lump'], 'status': ['ok', 'truncated']}
    places = {'image': Path('ct.nii.gz'), 'mask': [None] * 2, 'mesh': [None] * 2}
    shape = {'image_shape': (SIZE,) * 3, 'affine': np.eye(4), 'spacing': SPACING, 'seed': seed}
    sample.set_metainfo({**told, **places, **shape})
    return {'inputs': 1000 * torch.rand(1, SIZE, SIZE, SIZE), 'data_samples': sample}


@pytest.fixture(params=[FIT, PAPER])
def bare(request, monkeypatch):
    """A network that knows nothing of its dataset, which is made up."""
    init_default_scope('massm')
    torch.manual_seed(0)
    own = {**SMALL, **OF_FIT} if request.param == FIT else SMALL
    model = MODELS.build(load_config(ROOT / request.param, own).model)
    templates = [make_template(0), make_template(1)]
    monkeypatch.setattr(template_bank, 'read_templates', lambda *_: templates)
    return model


def read_dataset(model):
    model.read_templates(Path('none'))
    if hasattr(model.dense_head, 'read_centers'):
        model.dense_head.read_centers(60 + np.random.default_rng(0).normal(size=(5, 2, 3)))


@pytest.fixture
def network(bare):
    """It is on the other device before it reads its templates, as mmengine has it."""
    with Elsewhere():
        move_elsewhere(bare)
        bare.data_preprocessor.to(ELSEWHERE)
        read_dataset(bare)
        yield bare


def test_a_step_is_taken_where_the_network_is(network):
    items = [make_sample(0), make_sample(1)]
    batch = {key: [item[key] for item in items] for key in items[0]}
    batch = network.data_preprocessor(batch, True)
    network.teacher_forcing = 0.5
    losses = network.loss(batch['inputs'], batch['data_samples'])
    network.parse_losses(losses)[0].backward()
    taught = [p for p in network.backbone.parameters() if p.requires_grad]
    assert all(p.grad is not None and p.grad.device == ELSEWHERE for p in taught)


def test_filters_and_what_validation_tells_are_learnt_where_the_network_is(network, monkeypatch):
    items = [make_sample(n) for n in range(2)]
    network.eval()
    if hasattr(network.local_head, 'filters'):
        cases = TrainingCases.__new__(TrainingCases)
        cases.model = network
        made = [cases._case(item, n) for n, item in enumerate(items)]
        fitting = FilterFit(network.local_head, lambda: made, 2, (10.0, 100.0), (0.1, 0.3))
        left = fitting.go_on(len(network.local_head.filters))
        assert left[0, 0] > 0 and network.local_head.is_fitted
    network.teacher_forcing = 0.0
    lines = []
    runner = runner_without_validation(network, tell=lines.append)
    hook = ScoreThresholdHook(heights=[0.5])
    with torch.no_grad():
        data = {key: [item[key] for item in items[:1]] for key in items[0]}
        found = network.val_step(data)
        hook.before_val_epoch(runner)
        hook.after_val_iter(runner, 0, data, found)
        hook.after_val_epoch(runner)
    assert (network.score_thresholds != DEFAULT_THRESHOLD).any()
    told = {'deviation_factor/blob': 2.0, 'usual_uncertainty/blob': 1.5}
    CalibrationHook().after_val_epoch(runner, told)
    assert case_prediction(found[0]).local_mm.shape == (2, PARTICLES, 3)
    assert len(detection_rows(found[0].to_dict(), [0.5, 0.5])) == 2
    monkeypatch.setattr(score_threshold_hook, 'unaugmented', lambda _: items[:1])
    hook.after_train_epoch(runner)
    assert 'found from a score of' in lines[-1]


def test_maps_and_weights_can_be_kept_channels_last_whatever_else_the_network_holds(bare):
    read_dataset(bare)
    weights = {name: value.clone() for name, value in bare.state_dict().items()}
    bare.optimise(channels_last=True)
    layout = torch.channels_last_3d
    kernels = [m.weight for m in bare.modules() if isinstance(m, torch.nn.Conv3d)]
    assert kernels and all(k.is_contiguous(memory_format=layout) for k in kernels)
    assert all(torch.equal(value, weights[name]) for name, value in bare.state_dict().items())
    bare.teacher_forcing = 0.5
    sample = make_sample(0)
    data = bare.data_preprocessor({key: [value] for key, value in sample.items()}, True)
    bare.parse_losses(bare.loss(data['inputs'], data['data_samples']))[0].backward()


def test_world_particles_keep_their_precision_where_validation_is_under_autocast(bare):
    read_dataset(bare)
    sample = make_sample(0)
    data = bare.data_preprocessor({key: [value] for key, value in sample.items()})
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        found = bare.eval()(**data, mode='tensor')
    assert found.world_mm.dtype == torch.float32
    away = found.world_mm - bare.templates.world_mm
    assert found.world_mm.isfinite().all() and away.norm(dim=-1).mean() < 60


def test_the_pretence_refuses_what_a_gpu_refuses():
    with Elsewhere():
        one = torch.ones(3, device=ELSEWHERE)
        assert (one + torch.tensor(1.0)).tolist() == [2, 2, 2]
        assert one[torch.tensor([True, False, True])].device == ELSEWHERE
        one[0] = torch.tensor([5.0])[0]
        assert float(one.cpu().numpy()[0]) == 5.0
        with pytest.raises(TypeError, match='not on the CPU'):
            one.numpy()
        for mixed in (lambda: one + torch.ones(3), lambda: torch.ones(3)[one.long()]):
            with pytest.raises(RuntimeError, match='same device'):
                mixed()
