from pathlib import Path

import pytest
from mmengine.config import Config

from massm.apis.config import hook_named
from massm.engine.hooks.loss_weight_ramp_hook import ramped_weight
from massm.engine.hooks.teacher_forcing_hook import forcing_probability
from massm.models.massm import LOSSES

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
