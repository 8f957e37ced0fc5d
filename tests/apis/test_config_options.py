"""--cfg-options: what people write, and what comes of it."""

import argparse
import os

import pytest

from massm.apis.config import load_config
from massm.cli import run_command
from massm.commands.options import add_config_options, check_device, check_jobs, tell_local_rank
from massm.errors import ConfigError
from tests.conftest import ROOT

CONFIG = ROOT / 'configs/massm_r18_paper.py'


def load(*words):
    parser = argparse.ArgumentParser()
    add_config_options(parser)
    return load_config(CONFIG, parser.parse_args(['--cfg-options', *words]).cfg_options)


@pytest.mark.parametrize(
    ('word', 'message'),
    [
        ('data/mine', 'is not KEY=VALUE'),
        ('=3', 'is not KEY=VALUE'),
        ('train_cfg..x=3', 'is not KEY=VALUE'),
        ('anatomies=[spleen', 'unpaired brackets'),
        ('spacing=three', 'expects a number'),
        ('spacing=-1', 'spacing is in mm'),
        ('spacing=nan', 'spacing'),
        ('num_particles=many', 'expects a number'),
        ('num_particles=1.5', 'whole number'),
        ('train_cfg.max_epochs=ten', 'expects a number'),
        ('train_cfg=5', 'is a group of settings'),
        ('custom_hooks=5', 'is a list of settings'),
        ('max_epochs=1', 'did you mean train_cfg.max_epochs?'),
        ('train_pipeline.0.type=X', 'nothing reads'),
        ('data_rot=/x', 'did you mean data_root?'),
        ('num_particle=64', 'did you mean num_particles?'),
        ('train_cfg.max_epoch=3', 'did you mean train_cfg.max_epochs?'),
        ('param_scheduler.99.eta_min=3', 'does not fit'),
        ('anatomies=../../evil', 'cannot be the name of a file'),
        ('anatomies=spleen,spleen', 'distinct'),
    ],
)
def test_a_slip_is_one_sentence(word, message, capsys):
    with pytest.raises(ConfigError) as error:
        load(word)
    assert message in str(error.value) and '\n' not in str(error.value)


def test_values_become_what_the_setting_is():
    assert load('data_root=2026').data_root == '2026'
    assert load('data_root=a,b/x').data_root == 'a,b/x'
    assert load('data_root=1.50').data_root == '1.50'
    assert load('anatomies=spleen').anatomies == ['spleen']
    config = load('train_cfg.max_epochs=3', 'spacing=5', 'load_from=None', 'randomness.seed=3')
    assert config.train_cfg.max_epochs == 3 and config.spacing == 5
    assert config.randomness.seed == 3 and config.load_from is None
    assert load('custom_hooks.CVAEPretrainHook.steps=7').model.spacing


@pytest.mark.parametrize(
    ('value', 'meant'),
    [
        ('/data/my cohort (2)/ds', '/data/my cohort (2)/ds'),
        ("'/data/my cohort'", '/data/my cohort'),
        ("['PAROTID L', 'larynx']", ['PAROTID L', 'larynx']),
        ('[a b,c]', ['a b', 'c']),
        ('a b, c', ['a b', 'c']),
        ('[ 1 , 2.5 ]', [1, 2.5]),
        ("[(1, 2), ('a b', True)]", [(1, 2), ('a b', True)]),
        (' 3 ', 3),
    ],
)
def test_spaces_within_names_are_kept(value, meant):
    parser = argparse.ArgumentParser()
    add_config_options(parser)
    assert parser.parse_args(['--cfg-options', f'key={value}']).cfg_options == {'key': meant}


def test_a_loader_can_do_without_workers():
    config = load('train_dataloader.num_workers=0')
    assert not config.train_dataloader.persistent_workers
    assert config.val_dataloader.persistent_workers


@pytest.mark.parametrize('word', ['sync_bn=torch', 'find_unused_parameters=True'])
def test_what_mmengine_reads_in_the_config_itself_is_no_slip(word):
    assert load(word)[word.partition('=')[0]]


def test_imports_that_fail_are_one_sentence(tmp_path):
    path = tmp_path / 'config.py'
    text = "custom_imports = dict(imports=['not_there.at_all'], allow_failed_imports=False)"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r'custom_imports cannot .*not_there') as error:
        load_config(path)
    assert '\n' not in str(error.value)


def test_it_is_exit_code_1_and_one_line(capsys):
    assert run_command('train', [str(CONFIG), '--cfg-options', 'data_root', 'data/mine']) == 1
    error = capsys.readouterr().err
    assert error.count('\n') == 1 and "'data_root' is not KEY=VALUE" in error


def test_jobs_and_devices():
    assert check_jobs(-1) == -1
    for jobs in (0, -2):
        with pytest.raises(ConfigError, match='--jobs'):
            check_jobs(jobs)
    check_device(None)
    check_device('cpu')
    for device in ('gpu', 'cuda:99', 'tpu', ''):
        with pytest.raises(ConfigError, match='--device') as error:
            check_device(device)
        assert '\n' not in str(error.value)


@pytest.mark.parametrize('of_mpi', [None, '3'])
def test_the_local_rank_is_the_launchers(monkeypatch, of_mpi):
    monkeypatch.delenv('LOCAL_RANK', raising=False)
    monkeypatch.delenv('OMPI_COMM_WORLD_LOCAL_RANK', raising=False)
    if of_mpi:
        monkeypatch.setenv('OMPI_COMM_WORLD_LOCAL_RANK', of_mpi)
    monkeypatch.setattr(os, 'environ', dict(os.environ))
    tell_local_rank(argparse.Namespace(local_rank=1))
    assert os.environ['LOCAL_RANK'] == (of_mpi or '1')
