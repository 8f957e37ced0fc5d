"""Runs over many images: one broken does not stop the rest, memory stays flat, disks fill up."""

import csv
import gc
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import psutil
import pytest

from massm.cli import run_command
from massm.commands.infer import unique_names
from massm.errors import ConfigError
from massm.inference.inferencer import MASSMInferencer
from massm.inference.result_files import write_result
from massm.io.shapeworks import read_project
from tests.robustness.scans import load, nifti


def infer(*arguments):
    return run_command('infer', [str(a) for a in arguments])


def test_one_broken_image_does_not_stop_the_others(tiny_source, model_directory, tmp_path, capsys):
    scans = tmp_path / 'scans'
    scans.mkdir()
    for i in range(3):
        nifti(scans / f'p{i}.nii.gz', *load(tiny_source / f's000{i}/ct.nii.gz'))
    (scans / 'p1.nii.gz').write_bytes(b'broken')
    out = tmp_path / 'out'
    assert infer(scans, '--model', model_directory, '--out', out) == 1
    assert capsys.readouterr().err.count('error:') == 1
    assert {p.name for p in out.iterdir()} == {'p0', 'p2', 'summary.csv', 'project.swproj'}
    rows = list(csv.DictReader((out / 'summary.csv').open()))
    assert len(rows) == 14 and {row['subject'] for row in rows} == {'p0', 'p2'}
    found = [row for row in rows if row['status'] == 'ok']
    assert found and all(float(row['volume_ml']) > 1 for row in found)
    project = read_project(out / 'project.swproj')
    assert {s.name for s in project.subjects} == {'p0', 'p2'}
    for subject in project.subjects:
        for domain in subject.domains.values():
            assert (out / domain.local).is_file() and (out / domain.mesh).is_file()


def test_many_images_in_one_run_keep_memory_flat(tiny_source, model_directory, tmp_path):
    scan = tiny_source / 's0001/ct.nii.gz'
    inferencer, process, used = MASSMInferencer(model_directory), psutil.Process(), []
    for i, result in enumerate(inferencer.stream([scan] * 30)):
        write_result(tmp_path / f'r{i % 2}', result)
        gc.collect()
        used.append(process.memory_info().rss / 2**20)
    print(f'MiB after 5, 15, 30 images: {used[4]:.0f}, {used[14]:.0f}, {used[29]:.0f}')
    assert used[29] - used[4] < 22  # less than one more MiB an image


def test_a_second_run_replaces_the_first_and_leaves_nothing_behind(
    tiny_source, model_directory, tmp_path
):
    scan, out = tiny_source / 's0001/ct.nii.gz', tmp_path / 'out'
    assert infer(scan, '--model', model_directory, '--out', out, '--formats', 'stl') == 0
    assert list((out / 'ct/meshes').glob('*.stl')) and not (out / 'project.swproj').exists()
    assert infer(scan, '--model', model_directory, '--out', out) == 0
    assert list((out / 'ct/meshes').glob('*.ply')) and not list((out / 'ct/meshes').glob('*.stl'))
    assert not list(out.rglob('.partial*'))


def test_chosen_anatomies_alone_are_reported(tiny_source, model_directory, tmp_path, capsys):
    scan, out = tiny_source / 's0001/ct.nii.gz', tmp_path / 'out'
    command = [scan, '--model', model_directory, '--out', out, '--anatomies']
    assert infer(*command, 'spleen') == 0
    assert list(json.loads((out / 'ct/result.json').read_text())['anatomies']) == ['spleen']
    assert infer(*command, 'liver') == 1 and 'no anatomy liver' in capsys.readouterr().err


def test_jobs_change_no_file_and_json_says_where(tiny_source, model_directory, tmp_path, capsys):
    scans = [tiny_source / f's000{i}/ct.nii.gz' for i in range(4)]
    for jobs in (1, 3):
        out = tmp_path / str(jobs)
        command = [*scans, '--model', model_directory, '--out', out, '--jobs', jobs, '--json']
        assert infer(*command) == 0
        said = json.loads(capsys.readouterr().out)
        assert said['images'] == 4 and len(said['results']) == 4
    one, three = (sorted((tmp_path / str(j)).rglob('*.particles')) for j in (1, 3))
    assert one and [p.read_bytes() for p in one] == [p.read_bytes() for p in three]


def test_names_of_folders_are_distinct_and_short():
    assert unique_names(['/a/x.nii.gz', '/a/y.nrrd']) == ['x', 'y']
    assert unique_names(['/a/s1/ct.nii.gz', '/a/s2/ct.nii.gz']) == ['s1_ct', 's2_ct']
    with pytest.raises(ConfigError, match='named twice'):
        unique_names(['/a/x.nii.gz', '/a/x.nii.gz'])


def test_an_output_that_is_a_file_is_told_first(tiny_source, model_directory, tmp_path, capsys):
    out = tmp_path / 'out'
    out.write_text('in the way')
    scan = tiny_source / 's0001/ct.nii.gz'
    assert infer(scan, '--model', model_directory, '--out', out) == 1
    assert capsys.readouterr().err.startswith(f'error: {out}: cannot be written')


@pytest.fixture
def bound() -> list[str]:
    """Words before a command that may write only where its user may, root or not."""
    if os.geteuid() != 0:
        return []
    words = ['setpriv', '--bounding-set=-dac_override']
    if shutil.which(words[0]) is None or subprocess.run([*words, 'true']).returncode:
        pytest.skip('root may write anywhere here')
    return words


def test_an_output_that_is_read_only_is_told_first(bound, tiny_source, model_directory, tmp_path):
    out = tmp_path / 'out'
    out.mkdir(mode=0o500)
    command = [*bound, sys.executable, '-m', 'massm', 'infer', tiny_source / 's0001/ct.nii.gz']
    ended = subprocess.run(
        [*command, '--model', model_directory, '--out', out], capture_output=True, text=True
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith(f'error: {out}: cannot be written (Permission denied)')
    assert not list(out.iterdir())


def test_a_full_disk_leaves_nothing_half_written(tiny_source, model_directory, tmp_path, capsys):
    disk = tmp_path / 'disk'
    disk.mkdir()
    mount = subprocess.run(
        ['mount', '-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', str(disk)], capture_output=True
    )
    if mount.returncode:
        pytest.skip('no small disk can be mounted here')
    try:
        scan = tiny_source / 's0001/ct.nii.gz'
        assert infer(scan, '--model', model_directory, '--out', disk / 'out') == 1
        assert 'No space left' in capsys.readouterr().err
        assert not list((disk / 'out').iterdir())
    finally:
        gc.collect()  # the error's frames may still hold a file
        subprocess.run(['umount', str(disk)], check=True)


def test_arrays_and_nibabel_images_are_inputs_too(tiny_source, model_directory):
    import nibabel

    path = tiny_source / 's0001/ct.nii.gz'
    inferencer = MASSMInferencer(model_directory)
    by_path, by_image = (inferencer(i)[0] for i in (path, nibabel.load(path)))
    for a, b in zip(by_path.shapes, by_image.shapes, strict=True):
        assert np.allclose(a.local_mm, b.local_mm)
