"""The scripts of benchmarks/ run, on next to nothing: their numbers are of a day when they did."""

import runpy
import sys

import pytest
import torch

from massm.ops import extension
from massm.structures.shape_sample import ShapeSample
from tests.conftest import ROOT, TINY_PARTICLES, TINY_SPACING

FOLDER = ROOT / 'benchmarks'
SCRIPTS = sorted(FOLDER.glob('*.py'))


@pytest.fixture
def run(monkeypatch, capsys):
    """``run(name, words)``: what a script prints."""
    monkeypatch.syspath_prepend(str(FOLDER))

    def run(name, *words):
        monkeypatch.setattr(sys, 'argv', [name, *map(str, words)])
        runpy.run_path(str(FOLDER / name), run_name='__main__')
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize('script', SCRIPTS, ids=lambda path: path.stem)
def test_each_says_how_it_is_used(script, run, capsys):
    with pytest.raises(SystemExit) as ended:
        run(script.name, '--help')
    assert ended.value.code == 0 and 'Example' in capsys.readouterr().out


def test_roi_pooling(run):
    if not extension.is_compiled('cpu'):
        pytest.skip('the compiled op could not be built here')
    told = run('roi_pool3d.py', '--size', 32, '--channels', 2, '--boxes', 2, '--repeat', 1)
    assert 'align' in told


def test_a_training_step(run):
    told = run('train_step.py', '--volumes', 2, '--size', 24, 24, 24, '--channels-last')
    assert 'ours / peer' in told


def test_odd_scans(run):
    told = run('odd_scans.py', ROOT / 'examples/headneck_ct.nii.gz')
    rows = [line.split('│') for line in told.splitlines() if line.count('│') > 4]
    found = {(row[1].strip(), row[2].strip()): row[3].strip() for row in rows}
    whole = ('as it comes', 'at 1 mm', 'at 5 mm')
    assert all(found[scan, name] == 'ok' for scan, name in found if scan in whole and name)
    assert found['upper half', 'larynx'] == found['lower half', 'mandible'] == 'absent'
    assert found['lower half', 'larynx'] == 'truncated'
    assert found['a ball', 'parotid_gland_left'] == 'low_confidence'
    assert 'not in HU' in told


def test_organs_are_found_by_their_own_thresholds():
    script = runpy.run_path(str(FOLDER / 'truncated_organs.py'))
    sample = ShapeSample()
    sample.scores, sample.score_thresholds = torch.tensor([0.3, 0.3]), torch.tensor([0.2, 0.4])
    assert [script['_is_found'](sample, k) for k in (0, 1)] == [True, False]


def test_inference(run, tiny_dataset):
    config = ROOT / 'configs/massm_r18_paper.py'
    options = [f'data_root={tiny_dataset}', f'spacing={TINY_SPACING}']
    options.append(f'num_particles={TINY_PARTICLES}')
    told = run('inference.py', config, 40, 40, 40, '--cfg-options', *options)
    assert 'cold' in told and 'warm' in told
