"""A model from a stranger cannot execute anything, and a broken one is told in one sentence."""

import io
import json
import os
import pickle
import shutil
import zipfile

import numpy as np
import pytest
import torch

from massm.cli import run_command
from massm.inference.model_directory import read_model
from tests.conftest import FITTED, ROOT


@pytest.fixture
def copy(model_directory, tmp_path):
    return shutil.copytree(model_directory, tmp_path / 'model')


@pytest.fixture
def image(tiny_source):
    return str(tiny_source / 's0001/ct.nii.gz')


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


class Bomb:
    """Executes when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def config_names_a_function(model, mark):
    value = {'type': 'os.mkdir', 'path': str(mark)}
    edit(model / 'config.json', lambda c: c['model'].update(backbone=value))


def config_names_another_registry(model, mark):
    edit(model / 'config.json', lambda c: c['model'].update(neck={'type': 'mmengine.Runner'}))


def pickle_as_weights(model, mark):
    (model / 'model.safetensors').write_bytes(pickle.dumps(Bomb(mark)))


def pickle_in_a_shape_model(model, mark):
    file = next((model / 'pdm').iterdir())
    array = io.BytesIO()
    np.save(array, np.array([Bomb(mark)], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(file, 'w') as archive:
        for name in ('mean', 'modes', 'variances'):
            archive.writestr(f'{name}.npy', array.getvalue())


def weights_missing(model, mark):
    (model / 'model.safetensors').unlink()


def weights_cut_short(model, mark):
    whole = (model / 'model.safetensors').read_bytes()
    (model / 'model.safetensors').write_bytes(whole[: len(whole) // 2])


def metadata_not_json(model, mark):
    (model / 'metadata.json').write_text('{')


def a_newer_version(model, mark):
    edit(model / 'metadata.json', lambda m: m.update(version=99))


def an_older_version(model, mark):
    edit(model / 'metadata.json', lambda m: m.update(version=1))


def weights_of_another_network(model, mark):
    edit(model / 'config.json', lambda c: c['model']['backbone'].update(base_channels=24))


def a_setting_of_another_version(model, mark):
    edit(model / 'config.json', lambda c: c['model']['backbone'].update(turns=3))


def an_anatomy_more(model, mark):
    edit(model / 'metadata.json', lambda m: m['anatomies'].append('liver'))


@pytest.mark.parametrize(
    'spoil',
    [
        config_names_a_function,
        config_names_another_registry,
        pickle_as_weights,
        pickle_in_a_shape_model,
        weights_missing,
        weights_cut_short,
        metadata_not_json,
        a_newer_version,
        an_older_version,
        weights_of_another_network,
        a_setting_of_another_version,
        an_anatomy_more,
    ],
)
def test_a_spoilt_model_is_refused_and_executes_nothing(spoil, copy, image, tmp_path, capsys):
    mark = tmp_path / 'executed'
    spoil(copy, mark)
    command = [image, '--model', str(copy), '--out', str(tmp_path / 'out')]
    assert run_command('infer', command) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and said[0].startswith('error: ') and 'model' in said[0]
    assert not mark.exists() and not list(tmp_path.glob('out/*'))


def test_a_checkpoint_that_would_execute_is_refused(image, tmp_path, tiny_dataset, capsys):
    mark = tmp_path / 'executed'
    torch.save({'state_dict': {}, 'meta': Bomb(mark)}, tmp_path / 'bomb.pth')
    config = str(ROOT / 'configs/massm_r18_paper.py')
    command = [image, '--model', str(tmp_path / 'bomb.pth'), '--config', config]
    options = ['--out', str(tmp_path / 'out'), '--cfg-options', f'data_root={tiny_dataset}']
    assert run_command('infer', [*command, *options]) == 1
    assert 'trust' in capsys.readouterr().err and not mark.exists()


def test_a_checkpoint_alone_needs_its_config(image, tmp_path, capsys):
    (tmp_path / 'a.pth').write_bytes(b'x')
    command = [image, '--model', str(tmp_path / 'a.pth'), '--out', str(tmp_path / 'out')]
    assert run_command('infer', command) == 1
    assert '--config' in capsys.readouterr().err


def test_the_directory_gives_what_the_checkpoint_gives(fitted, model_directory, image):
    from massm.inference.inferencer import MASSMInferencer

    config, folder = fitted
    one = MASSMInferencer(config, str(folder / FITTED))(image)[0]
    other = MASSMInferencer(model_directory)(image)[0]
    for a, b in zip(one.shapes, other.shapes, strict=True):
        assert a.score == b.score and np.array_equal(a.local_mm, b.local_mm)
        assert a.z_scores is None and b.z_scores is not None and b.percentiles is not None


def test_a_model_directory_is_whole_and_names_no_path_of_the_machine(model_directory):
    model = read_model(model_directory)
    assert {p.name for p in model_directory.iterdir()} == {
        'model.safetensors', 'config.json', 'metadata.json', 'pdm', 'templates', 'model_card.md',
    }  # fmt: skip
    assert set(model.shape_models) == set(model.config.anatomies)
    assert '/' not in (model_directory / 'config.json').read_text()
    card = (model_directory / 'model_card.md').read_text()
    assert all(name in card for name in model.config.anatomies) and 'tiny phantom' in card
