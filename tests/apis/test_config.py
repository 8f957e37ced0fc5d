import argparse
from pathlib import Path

import pytest
import torch
from mmengine.registry import init_default_scope

from massm.apis.config import load_config, resolve
from massm.commands.options import add_config_options
from massm.errors import ConfigError
from massm.registry import MODELS

ROOT = Path(__file__).parents[2]
CONFIGS = sorted([*ROOT.glob('configs/*.py'), *ROOT.glob('projects/*/configs/*.py')])


@pytest.mark.parametrize('path', CONFIGS, ids=lambda p: p.stem)
def test_every_config_builds(path):
    init_default_scope('massm')
    config = load_config(path)
    model = MODELS.build(config.model)
    assert model.anatomies == list(config.anatomies)
    assert model.templates.local_vox.shape == (len(config.anatomies), config.num_particles, 3)


def test_a_setting_changed_once_reaches_every_part():
    init_default_scope('massm')
    options = {'anatomies': ['spleen', 'liver'], 'num_particles': 32, 'data_root': 'elsewhere'}
    config = load_config(ROOT / 'configs/massm_r18_paper.py', options)
    for loader in (config.train_dataloader, config.val_dataloader, config.test_dataloader):
        assert loader.dataset.anatomies == ['spleen', 'liver']
        assert (loader.dataset.num_particles, loader.dataset.data_root) == (32, 'elsewhere')
    model = MODELS.build(config.model)
    assert model.dense_head.heatmap[-1].out_channels == 2
    assert model.local_head.mlp[-1].out_features == 96


@pytest.mark.parametrize('from_shell', [True, False])
def test_the_world_head_is_a_choice_of_the_config(from_shell):
    init_default_scope('massm')
    options = {'model.world_head': {'_delete_': True, 'type': 'ProcrustesWorldHead'}}
    if from_shell:  # as the README has it
        parser = argparse.ArgumentParser()
        add_config_options(parser)
        words = ['model.world_head._delete_=True', 'model.world_head.type=ProcrustesWorldHead']
        options = parser.parse_args(['--cfg-options', *words]).cfg_options
    config = load_config(ROOT / 'configs/massm_r18_paper.py', options)
    assert type(MODELS.build(config.model).world_head).__name__ == 'ProcrustesWorldHead'


def test_the_whole_network_shows_its_shapes():
    init_default_scope('massm')
    options = {'num_particles': 32, 'model.backbone.base_channels': 8}
    model = MODELS.build(load_config(ROOT / 'configs/massm_r18_paper.py', options).model).eval()
    with torch.no_grad():
        out = model(torch.randn(2, 2, 64, 32, 96))
    assert out.boxes.shape == (2, 7, 6) and out.scores.shape == (2, 7)
    assert out.local_vox.shape == out.world_mm.shape == (2, 7, 32, 3)


@pytest.mark.parametrize(
    'text, message',
    [
        ('spacing = 3.0', 'sets no anatomies'),
        ('this is not python', 'cannot be read'),
        (None, 'no such config'),
    ],
)
def test_broken_configs_are_named(tmp_path, text, message):
    path = tmp_path / 'broken.py'
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(path)


def test_anatomies_must_be_distinct():
    with pytest.raises(ConfigError, match='distinct'):
        load_config(ROOT / 'configs/massm_r18_phantom.py', {'anatomies': ['a', 'a']})


def test_anatomies_are_a_list_as_checkpoints_have_them():
    config = load_config(CONFIGS[0])
    config.anatomies = ('spleen', 'sacrum')
    config = resolve(config)
    assert config.anatomies == config.model.anatomies == ['spleen', 'sacrum']
    assert config.train_dataloader.dataset.anatomies == ['spleen', 'sacrum']


def test_a_network_sees_one_channel_per_window():
    path = ROOT / 'configs/massm_r18_totalseg.py'
    with pytest.raises(ConfigError, match=r'in_channels = 2, but .* has 3 windows'):
        load_config(path, {'model.backbone.in_channels': 2})
    config = load_config(path)
    del config.model.backbone['in_channels']
    assert resolve(config).model.backbone.in_channels == 3


def test_one_seed_is_that_of_the_whole_run():
    path = ROOT / 'configs/massm_r18_totalseg.py'
    assert load_config(path).train_dataloader.dataset.seed == 0
    config = load_config(path, {'randomness.seed': 7})
    assert config.train_dataloader.dataset.seed == config.val_dataloader.dataset.seed == 7
    config.train_dataloader.dataset.seed = 3
    assert resolve(config).train_dataloader.dataset.seed == 3
