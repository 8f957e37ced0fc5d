"""The command around the network, which a stand-in replaces here."""

import csv
from dataclasses import replace

import pytest

from massm.cli import run_command
from massm.commands import infer
from massm.errors import ImageError
from tests.inference.test_earlier_results import everything, result


class StandIn:
    """Fails at scans called ``broken`` (as a user's mistake) and ``odd`` (as a bug would)."""

    def list_images(self, inputs):
        return inputs

    def __call__(self, image):
        if 'broken' in image.name:
            raise ImageError(f'{image}: cannot be read')
        if 'odd' in image.name:
            raise RuntimeError('two\nlines')
        return [replace(result('spleen'), source=str(image))]


@pytest.fixture
def run(monkeypatch, tmp_path):
    monkeypatch.setattr(infer, '_inferencer', lambda args: StandIn())

    def command(*words):
        fixed = ['--model', 'm', '--out', str(tmp_path / 'out')]
        return run_command('infer', [*map(str, words), *fixed])

    return command


@pytest.mark.parametrize('jobs', ['1', '-1'])
def test_no_scan_stops_the_others(run, tmp_path, capsys, jobs):
    assert run('a.nii', 'broken.nii', 'odd.nii', 'a.nii.gz', '--jobs', jobs) == 1
    errors = capsys.readouterr().err.splitlines()
    assert [line for line in errors if line.startswith('error')] == [
        'error: broken.nii: cannot be read',
        'error: odd.nii: RuntimeError: two lines; --debug shows where',
    ]
    rows = csv.DictReader((tmp_path / 'out/summary.csv').open())
    assert {row['subject'] for row in rows} == {'a.nii', 'a.nii.gz'}


def test_a_users_folder_is_left_alone_and_told(run, tmp_path, capsys):
    mine = tmp_path / 'out/p1/meshes/manual_edit.stl'
    mine.parent.mkdir(parents=True)
    mine.write_text('mine')
    assert run('p1', 'p2') == 1
    assert 'nothing of yours is replaced' in capsys.readouterr().err
    assert mine.read_text() == 'mine'
    assert {name for name in everything(tmp_path / 'out') if name.startswith('p1')} == {
        'p1/meshes/manual_edit.stl'
    }
    assert (tmp_path / 'out/p2/result.json').is_file()


@pytest.mark.parametrize(
    ('option', 'value', 'words'),
    [
        ('--jobs', '0', '--jobs must be'),
        ('--device', 'gpu', 'cannot be used'),
        ('--score-threshold', '7', '0 to 1'),
    ],
)
def test_an_option_that_cannot_be_is_one_sentence(run, capsys, option, value, words):
    assert run('a.nii', option, value) == 1
    error = capsys.readouterr().err
    assert words in error and error.count('\n') == 1
