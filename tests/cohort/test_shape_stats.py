"""``massm stats``: what it refuses, and how a comparison is to be read."""

import json

import numpy as np
import pytest

from massm.cli import run_command
from massm.io.particles import write_particles


@pytest.fixture
def model(tmp_path, rng):
    """A model folder: particles of six shapes, and the record that they were built."""
    folder = tmp_path / 'model'
    base = 30 * rng.normal(size=(20, 3))
    for i in range(6):
        shift = np.array([3.0, 0, 0]) * (i >= 3)
        shape = base + shift + 0.1 * rng.normal(size=(20, 3))
        write_particles(folder / f'world/s{i}.particles', shape)
    stats = {'quality': {f's{i}': {'train': True} for i in range(6)}}
    (folder / 'stats.json').write_text(json.dumps(stats))
    (folder / '.model.json').write_text('{}')
    rows = ''.join(f's{i},{"before" if i < 3 else "after"}\n' for i in range(6))
    (tmp_path / 'study.csv').write_text('id,time\n' + rows)
    return folder


@pytest.fixture
def refused(model, capsys):
    def run(*words):
        assert run_command('shape_stats', [str(model), *map(str, words)]) == 1
        return capsys.readouterr().err

    return run


@pytest.mark.parametrize('name', ['stats.json', 'template.ply', 'pdm.npz', 'world/s0.particles'])
def test_no_file_of_a_model_is_written_over(model, tmp_path, refused, name):
    before = {f: f.read_bytes() for f in tmp_path.rglob('*') if f.is_file()}
    assert 'choose another name' in refused('--out', model / name)
    assert {f: f.read_bytes() for f in tmp_path.rglob('*') if f.is_file()} == before
    out = model / 'mine.json'
    for _ in range(2):
        assert run_command('shape_stats', [str(model), '--out', str(out)]) == 0
    assert len(json.loads(out.read_text())['generalization']) == 4


def test_nor_is_another_models_nor_the_table(model, tmp_path, refused):
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other/template.json').write_text('{}')
    assert 'choose another name' in refused('--out', tmp_path / 'other/stats.json')
    table = tmp_path / 'study.csv'
    assert 'choose another name' in refused('--group', 'time', '--csv', table, '--out', table)


@pytest.mark.parametrize('content', [None, '{"compactness": [1.0]}'])
def test_a_model_that_does_not_name_its_training_shapes_is_refused(model, refused, content):
    """As an interrupted build leaves it, or a file of another kind in its place."""
    (model / 'stats.json').unlink()
    if content is not None:
        (model / 'stats.json').write_text(content)
    assert 'run massm pdm again' in refused()


def test_options_that_only_a_comparison_reads_are_refused_without_one(tmp_path, refused):
    assert '--csv: belongs to a comparison' in refused('--csv', tmp_path / 'study.csv')
    assert '--permutations: belongs to a comparison' in refused('--permutations', 50)


def test_a_comparison_says_which_way_it_goes(model, tmp_path, capsys):
    command = [str(model), '--group', 'time', '--csv', str(tmp_path / 'study.csv')]
    assert run_command('shape_stats', [*command, '--permutations', '20']) == 0
    found = json.loads(capsys.readouterr().out)['group_difference']
    assert found['difference'] == 'before minus after'
    mean = np.mean(found['difference_mm'], axis=0)
    assert mean == pytest.approx([-3, 0, 0], abs=0.2)
    assert found['distance_mm'] == pytest.approx(3, abs=0.2)
