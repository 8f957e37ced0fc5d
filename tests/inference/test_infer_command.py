"""The command around the network, which a stand-in replaces here."""

import csv
import json
import shutil
from dataclasses import replace

import nibabel
import numpy as np
import pytest

from massm.cli import run_command
from massm.commands import infer
from massm.errors import ImageError
from massm.inference.model_identity import ModelIdentity
from tests.inference.test_earlier_results import everything, result


class StandIn:
    """Fails at scans called ``broken`` (as a user's mistake) and ``odd`` (as a bug would), and is
    interrupted at those called ``last``."""

    broken = 'broken'
    identity = ModelIdentity('stand-in', 'd' * 64)

    def list_images(self, inputs):
        return inputs

    def __call__(self, image):
        if self.broken in image.name:
            raise ImageError(f'{image}: cannot be read')
        if 'last' in image.name:
            raise KeyboardInterrupt
        if 'odd' in image.name:
            raise RuntimeError('two\nlines')
        return [replace(result('spleen'), source=str(image), model=self.identity)]


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


def test_a_scans_name_is_no_markup(run, capsys):
    assert run("CT [contrast] d'été :smile: <1>.nii") == 0
    assert "CT [contrast] d'été :smile: <1> (1 of 1)" in capsys.readouterr().out


def test_a_folder_stands_for_its_scans_without_hidden_files(tmp_path):
    """macOS lays a companion of a few bytes beside every file on a foreign disk."""
    from massm.inference.inferencer import MASSMInferencer

    folder = tmp_path / 'scans'
    folder.mkdir()
    for name in ('ct.nii.gz', '._ct.nii.gz', '.mr.nrrd', 'notes.txt'):
        (folder / name).touch()
    inferencer = MASSMInferencer.__new__(MASSMInferencer)  # knows no model
    assert inferencer.list_images([folder]) == [folder / 'ct.nii.gz']
    with pytest.raises(ImageError, match='name the folders that hold scans'):
        inferencer.list_images([tmp_path])


def test_an_image_of_one_frame_is_a_volume_as_its_file_is(tmp_path, rng):
    from massm.inference.inferencer import MASSMInferencer

    inferencer = MASSMInferencer.__new__(MASSMInferencer)  # knows no model
    inferencer.modality, inferencer.series = 'ct', None
    affine = np.diag([4.0, 4, 4, 1])
    image = nibabel.Nifti1Image(rng.normal(0, 400, (6, 7, 8, 1)).astype(np.float32), affine)
    nibabel.save(image, tmp_path / 'a.nii')
    scans = [inferencer._scan(one)[0] for one in (image, tmp_path / 'a.nii')]
    assert np.array_equal(scans[0].volume, scans[1].volume) and scans[0].grid.shape == (6, 7, 8)
    with pytest.raises(ImageError, match='not 3D'):
        inferencer._scan(nibabel.Nifti1Image(np.zeros((6, 7, 8, 2)), affine))


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


def test_a_loop_over_patients_whose_files_are_called_alike_loses_none(run, tmp_path, capsys):
    scans = [tmp_path / name / 'ct.nii' for name in ('s1', 's2')]
    for scan in scans:
        scan.parent.mkdir()
        scan.write_text(f'voxels of {scan.parent.name}')
    assert [run(scan) for scan in scans] == [0, 1]
    assert f'--out, as {tmp_path / "out/SUBJECT"}' in capsys.readouterr().err
    assert run(scans[0]) == 0
    content = json.loads((tmp_path / 'out/ct/result.json').read_text())
    assert content['image'] == str(scans[0])
    rows = list(csv.DictReader((tmp_path / 'out/summary.csv').open()))
    assert [row['subject'] for row in rows] == ['ct']


def test_an_interrupted_run_leaves_a_table_and_says_what_is_left(run, tmp_path, capsys):
    assert run('a.nii', 'b.nii', 'last.nii', 'c.nii') == 130
    assert 'run again with the images that are left' in capsys.readouterr().err
    rows = csv.DictReader((tmp_path / 'out/summary.csv').open())
    assert [row['subject'] for row in rows] == ['a', 'b']


def test_an_earlier_result_of_a_scan_that_now_fails_stays_and_is_listed(
    run, tmp_path, capsys, monkeypatch
):
    def listed():
        return [r['subject'] for r in csv.DictReader((tmp_path / 'out/summary.csv').open())]

    assert run('a.nii') == 0
    before = (tmp_path / 'out/a/result.json').read_bytes()
    monkeypatch.setattr(StandIn, 'broken', 'a.nii')
    assert run('a.nii') == 1
    assert 'out/a: the result of an earlier run stays' in capsys.readouterr().err
    assert listed() == ['a'] and (tmp_path / 'out/a/result.json').read_bytes() == before
    assert run('a.nii', 'c.nii') == 1 and listed() == ['a', 'c']
    assert run('d.nii') == 0 and listed() == ['a', 'c', 'd']
    shutil.rmtree(tmp_path / 'out/c')
    assert run('a.nii') == 1 and listed() == ['a', 'd']


def test_a_result_without_its_report_is_a_result(run, tmp_path, capsys, monkeypatch):
    def fail(path, name, result):
        raise RuntimeError('no plot')

    monkeypatch.setattr('massm.visualization.report.write_report', fail)
    assert run('a.nii', '--report') == 1
    told = capsys.readouterr()
    assert 'a/report.html: RuntimeError: no plot' in told.err and '1 of 1 images' in told.out
    assert 'earlier run' not in told.err
    rows = csv.DictReader((tmp_path / 'out/summary.csv').open())
    assert [row['subject'] for row in rows] == ['a']
    assert 'for each anatomy of every result' in ' '.join(told.out.split())


def test_series_of_one_folder_need_an_out_each(run, tmp_path, capsys):
    assert run('study', '--series', '71') == 0
    file = tmp_path / 'out/study/result.json'
    file.write_text(json.dumps({**json.loads(file.read_text()), 'series': '1.2.71'}))
    assert run('study', '--series', '72') == 1
    error = capsys.readouterr().err
    assert 'another series (1.2.71) of study than 72' in error and 'earlier run' not in error
    assert run('study', '--series', '71') == 0


def test_a_segmentation_of_what_is_no_series_is_refused_first(run, tmp_path, capsys):
    pytest.importorskip('highdicom')
    assert run('broken.nii', '--formats', 'ply', 'dicomseg') == 1
    assert 'dicomseg needs a folder of DICOM slices' in capsys.readouterr().err
    assert not any((tmp_path / 'out').iterdir())


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
