import logging
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.hooks import EarlyStoppingHook

from massm.apis.config import hook_named
from massm.datasets.transforms import (
    PackShapeInputs,
    RandomFieldOfView,
    RandomFlip,
    RandomIntensity,
    RandomRemoval,
)
from massm.engine.budgeted_train_loop import SET_ASIDE, BudgetedTrainLoop
from massm.engine.hooks import ScoreThresholdHook, filter_fit_hook, score_threshold_hook
from massm.engine.hooks.filter_fit_hook import for_filters
from massm.engine.hooks.fine_tuning_hook import FineTuningHook
from massm.engine.hooks.loss_weight_ramp_hook import LossWeightRampHook, ramped_weight
from massm.engine.hooks.teacher_forcing_hook import forcing_probability
from massm.errors import ConfigError
from massm.models.massm import LOSSES, MASSM
from massm.models.roi_heads.shape_fit_head import ShapeFitHead
from massm.structures.shape_sample import ShapeSample

ROOT = Path(__file__).parents[2]
# The paper's schedule: epoch -> (L_h, L_r, L_o, L_l, L_w), teacher forcing.
SCHEDULE = {
    0: ((1, 0.01, 1, 0, 0), 1.0),
    19: ((1, 0.01, 1, 0, 0), 1.0),
    20: ((40, 0.01, 1, 0.2, 0), 1.0),
    29: ((40, 0.01, 1, 2.0, 0), 0.82),
    40: ((40, 0.01, 1, 2.0, 0.2), 0.6),
    69: ((40, 0.01, 1, 2.0, 2.0), 0.02),
    70: ((40, 0.01, 1, 2.0, 2.0), 0.0),
}


@pytest.mark.parametrize('epoch', SCHEDULE)
def test_the_papers_schedule_stands_in_the_config(epoch):
    config = Config.fromfile(ROOT / 'configs/massm_r101_totalseg.py')
    ramp = hook_named(config, 'LossWeightRampHook')
    forcing = hook_named(config, 'TeacherForcingHook')
    base = config.model.loss_weights
    weights = [ramped_weight(base[k], ramp.ramps.get(k, []), epoch) for k in LOSSES]
    expected, probability = SCHEDULE[epoch]
    assert weights == pytest.approx(list(expected))
    assert forcing_probability(epoch, forcing.begin, forcing.end) == pytest.approx(probability)


def test_the_papers_optimiser_stands_in_the_config():
    config = Config.fromfile(ROOT / 'configs/massm_r101_totalseg.py')
    assert config.optim_wrapper.optimizer == {'type': 'Adam', 'lr': 1e-4, 'fused': True}
    assert config.train_cfg.max_epochs == 300
    step = config.param_scheduler[0]
    assert (step.type, step.step_size, step.gamma) == ('StepLR', 20, 0.9)


def test_phases_that_a_shortened_training_never_reaches_are_told(caplog):
    runner = SimpleNamespace(max_epochs=10, logger=logging.getLogger())
    runner.model = SimpleNamespace(loss_weights={'L_h': 1.0, 'L_l': 0.0})
    ramps = {'L_h': [{'begin': 9, 'value': 40.0}], 'L_l': [{'begin': 20, 'value': 2.0}]}
    LossWeightRampHook(ramps).before_train(runner)
    assert len(caplog.messages) == 1
    assert 'L_l begins after 20 epochs and the training ends after 10' in caplog.text


def test_filters_are_fitted_to_samples_that_keep_their_anatomies_and_are_cut_last():
    steps = [RandomRemoval(), RandomFieldOfView(), RandomIntensity(), PackShapeInputs()]
    flip = RandomFlip(midline=['sacrum'])
    metainfo, places = {'anatomies': ['sacrum']}, {'sacrum': None}
    dataset = SimpleNamespace(pipeline=Compose(steps), metainfo=metainfo, mirror_places=places)
    kept = for_filters(dataset, [flip]).pipeline.transforms
    assert [type(step) for step in kept] == [
        RandomIntensity,
        RandomFlip,
        RandomFieldOfView,
        PackShapeInputs,
    ]
    assert len(dataset.pipeline.transforms) == 4


@pytest.mark.parametrize('fitted', [False, True])
@pytest.mark.parametrize('resumed', [False, True])
def test_rounds_that_read_regions_are_fitted_after_the_last_epoch(monkeypatch, fitted, resumed):
    """Those before them before training, whatever weights it begins from; where it was resumed,
    with the last, for which as much time is kept."""
    calls, again = [], fitted and resumed

    class Fit:
        def __init__(self, head, *_):
            self.next_round = 0

        def go_on(self, until):
            calls.append((self.next_round, until))
            self.next_round = until
            return torch.ones(until - calls[-1][0], 2)

        def taught(self):
            return torch.tensor([True, False])

    monkeypatch.setattr(filter_fit_hook, 'FilterFit', Fit)
    monkeypatch.setattr(filter_fit_hook, 'TrainingCases', lambda *_: None)
    monkeypatch.setattr(filter_fit_hook, 'for_filters', lambda *_: [0, 1])
    stage = {'reach': 8.0, 'beside': 2.0, 'rounds': 2, 'modes': 2}
    stages = [stage, {**stage, 'reads_region': True}]
    region = {'cells': 4, 'margin': 4.0, 'channels': (8,)}
    head = ShapeFitHead(2, 8, 1, 4.0, stages, region=region)
    head.filters[0].weight.fill_(float(fitted))
    kept, lines = {filter_fit_hook.FIRST_ROUNDS_S: 10.0} if again else {}, []
    runner = SimpleNamespace(
        model=SimpleNamespace(local_head=head, anatomies=['sacrum', 'liver']),
        train_dataloader=SimpleNamespace(dataset=None, num_workers=0),
        message_hub=SimpleNamespace(update_info=kept.__setitem__, get_info=kept.get),
        logger=SimpleNamespace(info=lines.append, warning=lines.append),
        hooks=[],
        epoch=int(resumed),
        max_epochs=3,
    )
    hook = filter_fit_hook.FilterFitHook()
    hook.before_train(runner)
    for runner.epoch in range(3):
        hook.after_train_epoch(runner)
    assert calls == ([(0, 4)] if again else [(0, 2), (2, 4)])
    first = kept[filter_fit_hook.FIRST_ROUNDS_S]
    assert kept[SET_ASIDE + 'filters'] == pytest.approx(3 * first if again else 2 * first)
    assert len(lines) == 2 * len(calls)
    assert lines[-2].endswith('1 to 4' if again else '3 to 4')
    assert 'no training shape has liver' in lines[-1]


def test_training_that_may_end_before_the_last_filters_is_refused():
    stage = {'reach': 8.0, 'beside': 2.0, 'rounds': 1, 'modes': 2}
    stages, region = [stage, {**stage, 'reads_region': True}], {'cells': 4, 'margin': 4.0}
    head = ShapeFitHead(1, 8, 1, 4.0, stages, region={**region, 'channels': (8,)})
    runner = SimpleNamespace(
        model=SimpleNamespace(local_head=head),
        hooks=[EarlyStoppingHook(monitor='rmse', rule='less')],
    )
    with pytest.raises(ConfigError, match='EarlyStoppingHook would end training'):
        filter_fit_hook.FilterFitHook().before_train(runner)


@pytest.mark.parametrize('rank', [0, 1])
def test_generated_patients_are_of_the_patient_they_were_made_from(monkeypatch, rank):
    """Also of one that is in another split, and of one that was generated itself; all of a
    patient's are in one process."""
    made = [('a', None), ('a1', 'a'), ('b', None), ('a2', 'a1'), ('c1', 'c'), ('c2', 'c')]
    subjects = [SimpleNamespace(id=name, generated_from=base) for name, base in made]
    assert filter_fit_hook.patients_of(subjects) == [0, 0, 1, 0, 2, 2]

    class Data(list):
        manifest = SimpleNamespace(subjects=[SimpleNamespace(id='of another split'), *subjects])

        def get_data_info(self, n):
            return {'id': self[n].id}

        def sizes(self):
            return np.ones((len(self), 3))

    monkeypatch.setattr(filter_fit_hook, 'get_dist_info', lambda: (rank, 2))
    cases = filter_fit_hook.TrainingCases(None, Data(subjects), 2)
    own = [2] if rank else [0, 1, 3, 4, 5]
    assert cases.draws == [n for _ in range(2) for n in own]
    assert [d.epoch for d in cases.draws] == [
        filter_fit_hook.FIRST_EPOCH + draw for draw in range(2) for _ in own
    ]
    monkeypatch.setattr(cases, '_items', lambda: iter(cases.draws))
    monkeypatch.setattr(cases, '_case', lambda item, patient: patient)
    assert list(cases()) == 2 * ([1] if rank else [0, 0, 0, 2, 2])


def test_filters_need_something_to_be_fitted_to():
    with pytest.raises(ConfigError, match='got 0, 3 and'):
        filter_fit_hook.FilterFitHook(samples=0)


def network_of(*anatomies):
    """All that a threshold needs of one."""
    model = MASSM.__new__(MASSM)
    torch.nn.Module.__init__(model)
    model.anatomies, model.score_thresholds = list(anatomies), torch.full((len(anatomies),), 0.5)
    return model


def test_a_threshold_lies_between_what_scans_show_and_what_lies_beyond_their_ends(monkeypatch):
    """No anatomy is known to be missing: parts of the scan say how high one scores that is."""
    model = network_of('low', 'high')
    heights = torch.tensor([[2.0, 15], [30, 38]])
    truth = ShapeSample()
    truth.local_vox = torch.stack([torch.zeros_like(heights)] * 2 + [heights], -1)
    truth.has_box = truth.counted = torch.ones(2, dtype=torch.bool)
    truth.scores = torch.tensor([0.9, 0.8])
    # The lower half shows the first alone, the upper the second: the other's score is high, too.
    parts = cycle([torch.tensor([0.85, 0.55]), torch.tensor([0.5, 0.75])])
    monkeypatch.setattr(score_threshold_hook, '_scores', lambda model, part: next(parts))
    runner, hook = SimpleNamespace(model=model), ScoreThresholdHook(heights=[0.5])
    for _ in range(2):  # the second validation forgets the first
        hook.before_val_epoch(runner)
        hook.after_val_iter(runner, 0, {'inputs': [torch.zeros(1, 4, 4, 40)]}, [truth])
        hook.after_val_epoch(runner)
    assert [sorted(scores) for scores in hook.present] == [
        pytest.approx([0.85, 0.9]),
        pytest.approx([0.75, 0.8]),
    ]
    assert hook.absent == [pytest.approx([0.5]), pytest.approx([0.55])]
    assert model.score_thresholds.tolist() == pytest.approx([0.675, 0.65])


def runner_without_validation(model, dataset=None, tell=lambda text: None):
    """In its only epoch."""
    loader, logger = SimpleNamespace(dataset=dataset), SimpleNamespace(info=tell)
    return SimpleNamespace(
        model=model, epoch=0, max_epochs=1, val_loop=None, train_dataloader=loader, logger=logger
    )


@pytest.mark.parametrize('low, found', [(0.2, [0.15, 0.15]), (0.9, [0.3, 0.3])])
def test_without_validation_training_scans_lower_the_threshold_and_never_raise_it(
    monkeypatch, low, found
):
    """Of each of the two, one has only been seen there, the other only missing."""
    model = network_of('there', 'missing')
    truth = ShapeSample()
    truth.local_vox = torch.full((2, 4, 3), 3.0)
    truth.has_box, truth.counted = torch.tensor([True, False]), torch.tensor([True, True])
    items = [{'inputs': torch.zeros(1, 4, 4, 8), 'data_samples': truth}]
    scores = torch.tensor([low, 0.1 if low < 0.5 else 0.7])
    monkeypatch.setattr(score_threshold_hook, '_scores', lambda model, part: scores)
    monkeypatch.setattr(score_threshold_hook, 'unaugmented', lambda dataset: dataset)
    runner = runner_without_validation(model, items)
    runner.max_epochs = 2
    hook = ScoreThresholdHook(heights=[])
    hook.after_train_epoch(runner)
    assert model.score_thresholds.tolist() == [0.5, 0.5]  # not the last epoch
    runner.epoch = 1
    hook.after_train_epoch(runner)
    assert model.score_thresholds.tolist() == pytest.approx(found)


def test_what_looking_at_the_training_scans_takes_is_kept_of_a_budget(monkeypatch):
    """A few of twenty scans, of a second each, tell."""
    now, seen = [0.0], []

    def look(hook, model, dataset, which):
        seen.extend(which)
        now[0] += len(which)

    monkeypatch.setattr(score_threshold_hook.time, 'monotonic', lambda: now[0])
    monkeypatch.setattr(score_threshold_hook, 'unaugmented', lambda dataset: dataset)
    monkeypatch.setattr(ScoreThresholdHook, '_look_at', look)
    kept = {}
    runner = runner_without_validation(network_of('a'), list(range(20)))
    runner.message_hub = SimpleNamespace(update_info=kept.__setitem__)
    runner.train_loop = object()
    ScoreThresholdHook().before_train(runner)
    assert not kept and not seen
    runner.train_loop = BudgetedTrainLoop.__new__(BudgetedTrainLoop)
    ScoreThresholdHook().before_train(runner)
    assert len(seen) == 4 and kept == {f'{SET_ASIDE}thresholds': pytest.approx(20.0)}


@pytest.mark.parametrize('own', ["the checkpoint's", 'others'])
def test_what_a_config_makes_of_shape_models_is_its_own_whatever_it_begins_from(own):
    """And a shape autoencoder is trained anew where the shape models differ."""
    trained, read = torch.tensor(True), []
    model = SimpleNamespace(
        template_root='data',
        read_templates=read.append,
        named_buffers=lambda: [('world_head.shape_vae.is_trained', trained)],
    )
    dataset = SimpleNamespace(metainfo={'shape_model': own})
    runner = SimpleNamespace(
        model=model,
        train_dataloader=SimpleNamespace(dataset=dataset),
        logger=SimpleNamespace(info=lambda text: None),
    )
    hook = FineTuningHook()
    hook.before_train(runner)
    assert not read  # begins from nothing
    meta = {'dataset_meta': {'shape_model': "the checkpoint's"}}
    hook.after_load_checkpoint(runner, {'meta': meta})
    hook.before_train(runner)
    assert read == [Path('data')] and bool(trained) == (own == "the checkpoint's")
