"""Which checkpoints are taken and which refused, of files that are made up."""

import copy
import os

import pytest
import torch
from mmengine.config import Config
from mmengine.runner.checkpoint import load_state_dict
from torch import nn

from massm.apis import train as train_module
from massm.apis.checkpoints import (
    check_settings,
    check_shared,
    check_weights,
    find_checkpoint,
)
from massm.engine.hooks import ModelSettingsHook
from massm.errors import CheckpointError, ConfigError
from massm.models.shape_network import ShapeNetwork

SHARED = {'anatomies': ['spleen'], 'num_particles': 8, 'spacing': 2.0, 'modality': 'ct'}
MODEL = {
    'type': 'MASSM',
    'template_root': 'here',
    'data_preprocessor': {'windows': ((-1000.0, 1000.0), (-160, 240))},
    'local_head': {'stages': [{'reach': 24.0, 'modes': 10}], 'test_starts': 1, 'start_std': 4.0},
    'loss_weights': {'L_h': 1.0},
}


def config_of(**changes):
    return Config({**SHARED, 'data_root': 'here', 'model': {**copy.deepcopy(MODEL), **changes}})


@pytest.fixture
def checkpoint(tmp_path):
    """As the hook leaves it."""
    content = {'meta': {'dataset_meta': {**SHARED, 'shape_model': 'a'}}, 'state_dict': {}}
    runner = type('Runner', (), {'cfg': config_of()})
    ModelSettingsHook().before_save_checkpoint(runner, content)
    path = tmp_path / 'epoch_1.pth'
    torch.save(content, path)
    return str(path)


@pytest.mark.parametrize(
    'changes, said',
    [
        (
            {'data_preprocessor': {'windows': ((-1000.0, 1000.0), (-100, 240))}},
            r'model\.data_preprocessor\.windows\.1\.0 = -160, the config says -100',
        ),
        (
            {'local_head': {'stages': [{'reach': 12.0, 'modes': 10}], 'start_std': 4.0}},
            r'model\.local_head\.stages\.0\.reach = 24\.0, the config says 12\.0',
        ),
        ({'refine_head': {'reach': 4.0}}, r'model\.refine_head = None, the config says'),
    ],
)
def test_settings_that_no_weight_tells_are_compared(checkpoint, changes, said):
    with pytest.raises(CheckpointError, match=f'was trained with {said}'):
        check_settings(config_of(**changes), checkpoint)
    assert check_shared(config_of(**changes), checkpoint), 'which can still be begun from'


def test_what_weights_do_not_depend_on_may_differ(checkpoint, tmp_path):
    free = {**MODEL['local_head'], 'test_starts': 7}
    other = config_of(template_root='there', local_head=free, loss_weights={'L_h': 2.0})
    content = check_settings(other, checkpoint)
    del content['meta']['model_settings']
    torch.save(content, tmp_path / 'older.pth')
    assert check_settings(config_of(type='Other'), str(tmp_path / 'older.pth'))


def test_weights_that_the_network_has_no_place_for_are_refused():
    model = ShapeNetwork(['a', 'b'], num_particles=8, spacing=3.0)
    stored = {**model.state_dict(), 'templates.vertices_9': torch.zeros(1)}
    check_weights(model, {'state_dict': stored}, 'a.pth')
    stored['refine_head.code'] = torch.zeros(1)
    with pytest.raises(CheckpointError, match=r'1 weights do not fit, first refine_head\.code'):
        check_weights(model, {'state_dict': stored}, 'a.pth')


@pytest.mark.parametrize('load', [nn.Module.load_state_dict, load_state_dict])
@pytest.mark.parametrize('wrapped', [False, True])
def test_earlier_weights_bring_one_threshold_for_all_anatomies(load, wrapped):
    model = ShapeNetwork(['a', 'b'], num_particles=8, spacing=3.0)
    stored = model.state_dict()
    del stored['score_thresholds']
    stored['score_threshold'] = torch.tensor(0.4)
    check_weights(model, {'state_dict': stored}, 'a.pth')
    if wrapped:
        stored = {f'module.{name}': value for name, value in stored.items()}
    load(nn.ModuleDict({'module': model}) if wrapped else model, stored, strict=True)
    assert model.score_thresholds.tolist() == pytest.approx([0.4, 0.4])
    assert any(name.endswith('score_threshold') for name in stored), 'what was read stays as it is'


@pytest.mark.parametrize('load_from', [None, 'begin.pth'])
@pytest.mark.parametrize('written', [True, False])
def test_resuming_goes_on_from_the_work_dir_and_else_begins(
    monkeypatch, tmp_path, load_from, written
):
    """Whatever weights the config names to begin from, and wherever the folder was when written."""
    checked = []
    for name in ('check_fits', 'check_shared'):
        seen = lambda _, path, *__, name=name: checked.append((name, path))  # noqa: E731
        monkeypatch.setattr(train_module, name, seen)
    if written:
        (tmp_path / 'last_checkpoint').write_text('/elsewhere/epoch_3.pth')
        (tmp_path / 'epoch_3.pth').touch()
    config = Config({'work_dir': str(tmp_path), 'load_from': load_from})
    train_module._go_on_from(config, True, False)
    own = str(tmp_path / 'epoch_3.pth')
    assert config.resume == written and config.load_from == (own if written else load_from)
    begins = [('check_shared', load_from)] if load_from else []
    assert checked == ([('check_fits', own)] if written else begins)


def test_a_config_may_ask_to_resume(monkeypatch, tmp_path):
    monkeypatch.setattr(train_module, 'check_fits', lambda *_: {})
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_3.pth'))
    (tmp_path / 'epoch_3.pth').touch()
    config = Config({'work_dir': str(tmp_path), 'resume': True})
    train_module._go_on_from(config, False, False)
    assert config.resume and config.load_from == str(tmp_path / 'epoch_3.pth')


def test_the_best_checkpoint_is_that_of_the_last_training(tmp_path):
    """And not what an earlier one left in the same work dir."""

    def write(name, when, best=None):
        info = {'best_ckpt': f'/elsewhere/{best}'} if best else {}
        torch.save({'message_hub': {'runtime_info': info}}, tmp_path / name)
        os.utime(tmp_path / name, (when, when))

    with pytest.raises(CheckpointError, match='no checkpoint; train first'):
        find_checkpoint(tmp_path)
    write('best_epoch_7.pth', 1000)
    assert find_checkpoint(tmp_path).name == 'best_epoch_7.pth'
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_2.pth'))
    write('epoch_2.pth', 2000)
    assert find_checkpoint(tmp_path).name == 'epoch_2.pth', 'the best one is of another training'
    write('epoch_2.pth', 2000, best='best_epoch_7.pth')
    assert find_checkpoint(tmp_path).name == 'best_epoch_7.pth'
    write('best_epoch_2.pth', 3000)
    assert find_checkpoint(tmp_path).name == 'best_epoch_2.pth', 'written by its validation'


def test_autocast_without_a_gpu_is_one_sentence(monkeypatch):
    monkeypatch.setattr(train_module, 'get_device', lambda: 'cpu')
    with pytest.raises(ConfigError, match='--amp is for a GPU'):
        train_module._check_amp(True)
    train_module._check_amp(False)
