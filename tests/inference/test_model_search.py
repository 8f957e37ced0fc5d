"""Models are found by path, by name, or because there is only one."""

import json
import os
import shutil
from pathlib import Path

import pytest
from mmengine.registry import DefaultScope

from massm.cli import run_command
from massm.errors import CheckpointError, ConfigError
from massm.inference.model_directory import read_model
from massm.inference.model_search import find_model, named_models


@pytest.fixture(autouse=True)
def zoo(tmp_path, monkeypatch):
    """The folder of the package's own models, empty."""
    folder = tmp_path / 'zoo'
    folder.mkdir()
    monkeypatch.setattr('massm.inference.model_search.ZOO', folder)
    return folder


@pytest.fixture
def models(model_directory, tmp_path, monkeypatch):
    """A folder with one model, where models are looked for first."""
    folder = tmp_path / 'models'
    shutil.copytree(model_directory, folder / 'thorax')
    (folder / 'notes').mkdir()
    monkeypatch.setenv('MASSM_MODELS', str(folder))
    return folder


def test_a_model_is_found_by_path_and_by_name(models):
    assert find_model(models / 'thorax') == models / 'thorax'
    assert find_model(Path('thorax')) == models / 'thorax'
    assert 'notes' not in named_models()


def test_results_called_as_the_model_do_not_hide_it(zoo, tmp_path, monkeypatch):
    (zoo / 'thorax').mkdir()
    (zoo / 'thorax/metadata.json').write_text('{}')
    (tmp_path / 'thorax/ct').mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv('MASSM_MODELS', raising=False)
    assert find_model(Path('thorax')) == zoo / 'thorax'
    (tmp_path / 'abdomen').mkdir()
    with pytest.raises(CheckpointError, match='abdomen: holds no model, and known by name: thorax'):
        find_model(Path('abdomen'))


def test_of_two_alike_the_first_folder_has_it(models, tmp_path, monkeypatch):
    shutil.copytree(models / 'thorax', tmp_path / 'others/thorax')
    monkeypatch.setenv('MASSM_MODELS', f'{tmp_path / "others"}{os.pathsep}{models}')
    assert named_models()['thorax'] == tmp_path / 'others/thorax'


def test_the_box_has_models_and_a_folder_of_ones_own_wins(models, zoo):
    for name in ('thorax', 'headneck'):
        shutil.copytree(models / 'thorax', zoo / name)
    assert named_models() == {'headneck': zoo / 'headneck', 'thorax': models / 'thorax'}
    assert find_model(Path('headneck')) == zoo / 'headneck'


def test_a_folders_name_is_no_markup(zoo, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path('m[/old]/thorax [new]').mkdir(parents=True)
    Path('m[/old]/thorax [new]/metadata.json').write_text('{}')
    monkeypatch.setenv('MASSM_MODELS', 'm[/old]')
    assert run_command('models', []) == 1
    table = capsys.readouterr().out
    assert table.count('thorax [new]') == 2 and 'cannot be read: m[/old]/thorax [new]' in table


def test_an_unknown_name_is_told_with_those_that_are_known(models):
    with pytest.raises(CheckpointError, match=r'thorx: no such model directory, .*thorax'):
        find_model(models.parent / 'thorx')


def test_without_a_name_only_one_will_do(models):
    assert find_model(None) == models / 'thorax'
    shutil.copytree(models / 'thorax', models / 'abdomen')
    with pytest.raises(ConfigError, match=r'which model\? give --model one of abdomen, .*thorax'):
        find_model(None)


def test_the_command_lists_them_and_says_which_are_broken(models, capsys):
    assert run_command('models', ['--json']) == 0
    entries = {e['name']: e for e in json.loads(capsys.readouterr().out)['models']}
    assert entries['thorax']['modality'] == 'ct' and len(entries['thorax']['anatomies']) > 1
    (models / 'thorax/metadata.json').write_text('{', encoding='utf-8')
    assert run_command('models', []) == 1
    assert 'cannot be read' in capsys.readouterr().out


def test_a_model_is_built_whatever_else_the_process_builds(model_directory):
    with DefaultScope.overwrite_default_scope('mmengine'):
        assert read_model(model_directory).build().anatomies


def test_infer_takes_the_name(models, tiny_source, tmp_path):
    words = [str(tiny_source / 's0001/ct.nii.gz'), '--out', str(tmp_path / 'out')]
    assert run_command('infer', [*words, '--model', 'thorax']) == 0
    assert (tmp_path / 'out/ct/result.json').is_file()


def test_infer_takes_the_only_model_of_the_box_and_says_so(
    model_directory, zoo, tiny_source, tmp_path, monkeypatch, capsys
):
    monkeypatch.delenv('MASSM_MODELS', raising=False)
    shutil.copytree(model_directory, zoo / 'thorax')
    words = [str(tiny_source / 's0001/ct.nii.gz'), '--out', str(tmp_path / 'out'), '--json']
    assert run_command('infer', words) == 0
    told = capsys.readouterr()
    assert 'model: thorax, the only one known by name' in told.err
    assert json.loads(told.out)['images'] == 1


def test_without_any_model_it_is_told_how_to_have_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('MASSM_MODELS', str(tmp_path / 'gone'))
    assert run_command('infer', ['ct.nii.gz', '--out', str(tmp_path / 'out')]) == 1
    assert 'give --model a model directory, or set MASSM_MODELS' in capsys.readouterr().err
    assert run_command('models', []) == 0
    assert 'gone (no such folder)' in capsys.readouterr().out.replace('\n', '')


def test_infer_says_what_is_missing(models, capsys, tmp_path):
    assert run_command('infer', ['ct.nii.gz', '--out', str(tmp_path), '--model', 'no/such']) == 1
    assert 'no such model directory' in capsys.readouterr().err
    (tmp_path / 'best.pth').write_bytes(b'x')
    words = ['ct.nii.gz', '--out', str(tmp_path), '--model', str(tmp_path / 'best.pth')]
    assert run_command('infer', words) == 1
    assert "give a checkpoint's config with --config" in capsys.readouterr().err
