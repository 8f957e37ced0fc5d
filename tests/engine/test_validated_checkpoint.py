"""What checkpoints say of their validation, with mmengine's runner and a network of one number."""

import math

import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import CheckpointHook, Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

from massm.engine.hooks import ValidatedCheckpointHook

EPOCHS = 3


class Network(BaseModel):
    """Its buffer is told by validation."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.register_buffer('score_threshold', torch.zeros(()))

    def forward(self, inputs, mode='tensor'):
        return {'loss': self.weight.square()} if mode == 'loss' else [{}]


class Numbers(Dataset):
    metainfo = {}

    def __len__(self):
        return 2

    def __getitem__(self, n):
        return {'inputs': torch.ones(1)}


class Score(BaseMetric):
    """No epoch is better than the first."""

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return {'rmse': 1.0}


class Tell(Hook):
    """Validation of epoch N says N; that of ``broken`` is interrupted."""

    def __init__(self, broken=math.inf):
        self.broken, self.told = broken, []

    def after_val_epoch(self, runner, metrics=None):
        if runner.epoch == self.broken:
            raise KeyboardInterrupt
        self.told.append(runner.epoch)
        runner.model.score_threshold.fill_(runner.epoch)


@pytest.fixture
def train(tmp_path):
    """``train(name, tell, resume)``: trains in ``tmp_path``, or goes on there."""

    def run(name, tell, resume=False):
        loader = {'batch_size': 1, 'num_workers': 0, 'dataset': Numbers()}
        best = {'type': CheckpointHook, 'save_best': 'rmse', 'rule': 'less', 'interval': 1}
        runner = Runner(
            Network(),
            str(tmp_path),
            train_dataloader={**loader, 'sampler': {'type': 'DefaultSampler', 'shuffle': False}},
            val_dataloader={**loader, 'sampler': {'type': 'DefaultSampler', 'shuffle': False}},
            train_cfg={'by_epoch': True, 'max_epochs': EPOCHS, 'val_interval': 1},
            val_cfg={},
            val_evaluator=[Score()],
            optim_wrapper={'optimizer': {'type': 'SGD', 'lr': 0.1}},
            default_hooks={'checkpoint': best},
            custom_hooks=[tell, ValidatedCheckpointHook()],
            resume=resume,
            experiment_name=f'{tmp_path.name}_{name}',
            default_scope='mmengine',
            log_level='ERROR',
        )
        runner.train()
        return runner

    return run


def stored(folder, name):
    return torch.load(folder / name, weights_only=False)


def test_the_last_checkpoint_holds_what_its_own_validation_told(train, tmp_path):
    train('whole', Tell())
    last = stored(tmp_path, f'epoch_{EPOCHS}.pth')
    assert last['state_dict']['score_threshold'] == EPOCHS
    assert (last['meta']['epoch'], last['meta']['iter']) == (EPOCHS, 2 * EPOCHS)
    assert 'optimizer' in last and not list(tmp_path.glob('.partial*'))


def test_an_interrupted_last_validation_is_made_up_for_once(train, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train('broken', Tell(EPOCHS))
    name = f'epoch_{EPOCHS}.pth'
    assert stored(tmp_path, name)['state_dict']['score_threshold'] == EPOCHS - 1
    for again, told in (('first', [EPOCHS]), ('second', [])):
        tell = Tell()
        train(again, tell, resume=True)
        assert tell.told == told
        assert stored(tmp_path, name)['state_dict']['score_threshold'] == EPOCHS
