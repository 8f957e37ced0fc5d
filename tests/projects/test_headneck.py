"""From OpenKBP's CSV files to folders of masks: what lies where in the patient."""

import argparse
import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from massm.cli import run_command, run_module
from massm.cohort.manifest import load_manifest
from massm.cohort.sources.find import find_source
from massm.cohort.sources.request import Request
from massm.cohort.splits import read_splits
from massm.io.nifti import read_mask, read_volume
from projects.headneck import from_openkbp
from projects.headneck.from_openkbp import SHAPE, cropped, read_patient
from tests.conftest import ROOT

SPACING = (3.5, 4.0, 2.5)
# A patient of three blocks (rows, columns, slices, HU), each off the middle another way.
BODY = (slice(50, 70), slice(45, 71), slice(94, 128), 40)
NOSE = (slice(47, 50), slice(56, 60), slice(98, 102), 10)
JAW = (slice(52, 54), slice(52, 66), slice(108, 110), 900)
LEFT = (slice(58, 61), slice(66, 69), slice(96, 100), 60)


def places(*blocks):
    inside = np.zeros(SHAPE, dtype=bool)
    for block in blocks:
        inside[block[:3]] = True
    return np.flatnonzero(inside)


def write_csv(path, indices, values=None):
    """As the published files are: pandas' index and one column, which structures leave empty."""
    cells = [''] * len(indices) if values is None else [f'{v:.1f}' for v in values]
    lines = [f'{i},{cell}\n' for i, cell in zip(indices, cells, strict=True)]
    path.write_text(',data\n' + ''.join(lines), encoding='utf-8')


def make_patient(folder):
    folder.mkdir(parents=True)
    hu = np.full(SHAPE, -1024.0)
    for block in (BODY, NOSE, JAW, LEFT):
        hu[block[:3]] = block[3]
    shown = np.flatnonzero(hu > -1024)
    write_csv(folder / 'ct.csv', shown, hu.flat[shown] + 1024)
    write_csv(folder / 'Mandible.csv', places(JAW))
    write_csv(folder / 'LeftParotid.csv', places(LEFT))
    write_csv(folder / 'PTV70.csv', places(LEFT))
    write_csv(folder / 'Larynx.csv', [])
    lines = ''.join(f'{size:.18e}\n' for size in SPACING)
    (folder / 'voxel_dimensions.csv').write_text(lines, encoding='utf-8')


@pytest.fixture(scope='module')
def provided(tmp_path_factory):
    root = tmp_path_factory.mktemp('openkbp')
    make_patient(root / 'train-pats/pt_2')
    return root


@pytest.fixture
def patient(provided):
    return read_patient(provided / 'train-pats/pt_2')


def convert(*words):
    return run_module(from_openkbp, [str(word) for word in words])


def centre(patient, block):
    """Patient mm of the middle of a block's voxels."""
    return patient.grid.to_patient(np.array([(s.start + s.stop - 1) / 2 for s in block[:3]]))


def test_rows_go_back_columns_to_the_left_and_slices_down(patient):
    body, nose = centre(patient, BODY), centre(patient, NOSE)
    assert nose[1] - body[1] == pytest.approx((59.5 - 48) * SPACING[0])  # in front
    left = centre(patient, LEFT)
    assert left[0] - nose[0] == pytest.approx(-(67 - 57.5) * SPACING[1])  # RAS+: left is less
    assert left[2] - centre(patient, JAW)[2] == pytest.approx((108.5 - 97.5) * SPACING[2])  # above
    assert np.allclose(patient.grid.to_patient(np.full(3, 64.0)), 0)


def test_values_are_hounsfield_and_air_where_nothing_is_told(patient):
    assert patient.hu.dtype == np.int16
    assert patient.hu[53, 60, 109] == 900 and patient.hu[62, 50, 110] == 40
    assert patient.hu[0, 0, 0] == patient.hu[48, 55, 99] == -1024


def test_what_nobody_contoured_has_no_mask(patient):
    assert list(patient.masks) == ['parotid_gland_left', 'mandible']
    assert np.array_equal(np.flatnonzero(patient.masks['mandible']), places(JAW))
    assert patient.remarks == ('Larynx.csv has no voxel, taken as not contoured',)


def test_cropping_leaves_everything_where_it_is(patient):
    part = cropped(patient)
    assert part.hu.shape == (27, 30, 36)
    for name in patient.masks:
        before, after = (
            p.grid.to_patient(np.argwhere(p.masks[name]).astype(float)) for p in (patient, part)
        )
        assert np.allclose(before, after)
    offset = (45, 43, 92)
    assert np.array_equal(part.hu, patient.hu[tuple(map(slice, offset, (72, 73, 128)))])


def test_the_command_writes_what_prepare_reads(provided, tmp_path, capsys):
    out = tmp_path / 'out'
    assert convert(provided, out, '--crop') == 0
    assert 'pt_002: Larynx.csv has no voxel' in capsys.readouterr().out
    (subject,) = find_source(out, Request()).subjects
    assert subject.id == 'pt_002' and read_splits(out, ['pt_002'], 0) == {'pt_002': 'train'}
    hu, grid = read_volume(out / 'pt_002/ct.nii.gz')
    mask, _ = read_mask(out / 'pt_002/segmentations/mandible.nii.gz')
    assert np.allclose(sorted(grid.spacing), sorted(SPACING)) and (hu[mask] == 900).all()
    middle = grid.to_patient(np.argwhere(mask).mean(0))
    assert np.allclose(middle, [4 * 5.5, 3.5 * 11.5, -2.5 * 44.5], atol=1e-4)
    names = {p.name for p in (out / 'pt_002').rglob('*.nii.gz')}
    assert names == {'ct.nii.gz', 'mandible.nii.gz', 'parotid_gland_left.nii.gz'}
    assert convert(provided, out) == 0  # over its own
    assert read_volume(out / 'pt_002/ct.nii.gz')[0].shape == SHAPE


FAULTS = {
    'ct.csv': {
        None: 'no such file',
        ',data\n5,1000.0\n5,1001.0\n': 'names a voxel twice',
        ',data\n2097152,1000.0\n': 'none of 128x128x128',
        ',data\n5.5,1000.0\n': 'none of 128x128x128',
        ',data\n5,-1000.0\n': r'are to be HU \+ 1024',
        ',data\n5,nan\n': r'are to be HU \+ 1024',
        ',data\nnan,5\n': 'none of 128x128x128',
        ',data\n': r'are to be HU \+ 1024',
        ',data\n5,soft\n': 'cannot be read as numbers',
        ',data\n5\n': 'cannot be read as numbers',
    },
    'Mandible.csv': {',data\n-3,\n': 'none of 128x128x128', '<html>\n<body>': 'cannot be read'},
    'voxel_dimensions.csv': {None: 'no such file', '3.5\n4.0\n': 'three sizes', '3\n4\n0\n': 'mm'},
}
CASES = [(name, text, told) for name, texts in FAULTS.items() for text, told in texts.items()]


@pytest.mark.parametrize('name, text, told', CASES)
def test_a_broken_patient_is_told_in_a_line_and_left_out(
    name, text, told, provided, tmp_path, capsys
):
    source = tmp_path / 'source'
    broken = source / 'test-pats/pt_300'
    make_patient(broken)
    (broken / name).unlink()
    if text is not None:
        (broken / name).write_text(text, encoding='utf-8')
    (source / 'train-pats').symlink_to(provided / 'train-pats')
    assert convert(source, tmp_path / 'out', '--crop') == 1
    error = capsys.readouterr().err
    assert error.count('\n') == 1 and re.search(told, error)
    assert sorted(p.name for p in (tmp_path / 'out').iterdir()) == ['meta.csv', 'pt_002']
    assert 'pt_300' not in (tmp_path / 'out/meta.csv').read_text(encoding='utf-8')


def test_what_somebody_added_to_a_patient_stays(provided, tmp_path, capsys):
    """And what the command wrote of one who is broken by now goes, so that prepare goes on."""
    source, out = tmp_path / 'source', tmp_path / 'out'
    for name in ('pt_3', 'pt_4'):
        shutil.copytree(provided / 'train-pats/pt_2', source / 'train-pats' / name)
    assert convert(source, out, '--crop') == 0
    added = [out / 'pt_003/segmentations/thyroid.nii.gz', out / 'pt_003/notes.txt']
    for file in added:
        file.write_text('mine', encoding='utf-8')
    (source / 'train-pats/pt_3/LeftParotid.csv').unlink()
    assert convert(source, out, '--crop') == 0
    assert all(file.read_text(encoding='utf-8') == 'mine' for file in added)
    assert not (out / 'pt_003/segmentations/parotid_gland_left.nii.gz').exists()
    for name in ('pt_3', 'pt_4'):
        (source / 'train-pats' / name / 'ct.csv').unlink()
    shutil.copytree(provided / 'train-pats/pt_2', source / 'train-pats/pt_5')
    assert convert(source, out, '--crop') == 1
    assert sorted(file for file in (out / 'pt_003').rglob('*') if file.is_file()) == sorted(added)
    assert not (out / 'pt_004').exists()
    words = [str(out), str(tmp_path / 'd'), '--anatomies', 'mandible', '--spacing', '4']
    assert run_command('prepare_dataset', [*words, '--jobs', '1']) == 1
    assert 'left out: pt_003' in capsys.readouterr().out
    assert [s.id for s in load_manifest(tmp_path / 'd').subjects] == ['pt_005']


def test_other_folders_are_refused(provided, tmp_path, capsys):
    assert convert(tmp_path, tmp_path / 'out') == 1
    assert 'holds no pt_N in train-pats, validation-pats, test-pats' in capsys.readouterr().err
    mine = tmp_path / 'mine/notes.txt'
    mine.parent.mkdir()
    mine.write_text('mine', encoding='utf-8')
    assert convert(provided, mine.parent) == 1
    assert 'choose another folder' in capsys.readouterr().err
    assert [p.name for p in mine.parent.iterdir()] == ['notes.txt']


# Lines of the published train-pats/pt_1, and voxels of its left parotid gland: the first and the
# last four, of 298.
PUBLISHED_CT = {548513: 1017, 548517: 190, 630443: 1165, 630444: 1482, 630445: 1130, 532261: 18}
PUBLISHED_PAROTID = (960062, 960188, 960189, 976445, 1107770, 1107898, 1108023, 1108025)


def test_the_published_lines_lie_where_another_converter_put_them(real_data, tmp_path):
    folder = tmp_path / 'pt_1'
    folder.mkdir()
    write_csv(folder / 'ct.csv', list(PUBLISHED_CT), PUBLISHED_CT.values())
    write_csv(folder / 'LeftParotid.csv', PUBLISHED_PAROTID)
    (folder / 'voxel_dimensions.csv').write_text('3.906\n3.906\n2.5\n', encoding='utf-8')
    patient = read_patient(folder)
    hu, grid = read_volume(real_data / 'headneck_ct/h0001/ct.nii.gz')
    gland, _ = read_mask(real_data / 'headneck_ct/h0001/segmentations/parotid_gland_left.nii.gz')

    def there(indices):
        points = patient.grid.to_patient(np.argwhere(indices).astype(float))
        found = grid.to_voxel(points)
        assert np.allclose(found, found.round(), atol=1e-3)
        return tuple(found.round().astype(int).T)

    shown = patient.hu > -1024
    assert np.array_equal(hu[there(shown)], patient.hu[shown])
    assert gland[there(patient.masks['parotid_gland_left'])].all()


# Stands for python in train.sh: writes down its words, leaves a checkpoint where training would.
PYTHON_STAND_IN = r"""#!/usr/bin/env bash
[[ $* == *sys.prefix* ]] && echo "$PREFIX/record" && exit
printf '%s\n' "$@" "" >>"$PREFIX/calls"
[[ -z $LEAVES_OUT || $* != *$LEAVES_OUT* ]] || { eval "$MAKES"; exit 1; }
[[ $* != *tools/train.py* ]] || { mkdir -p "$PREFIX/work"; touch "$PREFIX/work/best_mm.pth"; }
"""


def train_script(folder, *words, **variables):
    (folder / 'python').write_text(PYTHON_STAND_IN, encoding='utf-8')
    (folder / 'python').chmod(0o755)
    environment = {**os.environ, 'PATH': f'{folder}:{os.environ["PATH"]}', 'PREFIX': str(folder)}
    environment |= {'VIRTUAL_ENV': str(folder), 'PYTHON': sys.executable}
    environment |= {'LEAVES_OUT': '', 'MAKES': '', **variables}
    command = ['bash', str(ROOT / 'projects/headneck/train.sh'), *words]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


def test_the_script_goes_from_public_files_to_a_model_with_commands_that_there_are(tmp_path):
    (tmp_path / 'model').mkdir()
    words = ['public', '--processes', '3', '--work-dir', 'work', '--out', 'model', 'a.b=1']
    done = train_script(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    calls = [c.splitlines() for c in (tmp_path / 'calls').read_text().split('\n\n') if c]
    parsed = {}
    for call in calls:
        script = next((word for word in call if word.endswith('.py') and '/' in word), '')
        name = Path(script).stem
        if name:
            at = 'projects.headneck' if 'headneck/' in script else 'massm.commands'
            parser = argparse.ArgumentParser()
            importlib.import_module(f'{at}.{name}').add_arguments(parser)
            parsed[name] = parser.parse_args(call[call.index(script) + 1 :])
    steps = ['from_openkbp', 'prepare_dataset', 'build_pdm', 'train', 'test', 'export_model']
    assert list(parsed) == steps
    assert parsed['from_openkbp'].source == tmp_path / 'public' and parsed['from_openkbp'].crop
    assert parsed['prepare_dataset'].source == parsed['from_openkbp'].out
    assert parsed['prepare_dataset'].spacing == 4 and parsed['build_pdm'].particles == 512
    assert '--nproc_per_node=3' in next(call for call in calls if 'tools/train.py' in str(call))
    for name in ('train', 'test', 'export_model'):
        assert parsed[name].cfg_options == {'data_root': str(tmp_path / 'work/dataset'), 'a.b': 1}
    export = parsed['export_model']
    assert export.small and export.out == tmp_path / 'model' and 'OpenKBP' in export.data
    assert export.checkpoint == tmp_path / 'work/best_mm.pth' and export.licence == 'Apache-2.0'


@pytest.mark.parametrize('made', [True, False])
@pytest.mark.parametrize(
    'step, product',
    [
        ('from_openkbp', 'work/source/meta.csv'),
        ('prepare_dataset', 'work/dataset/dataset.json'),
        ('build_pdm', 'work/dataset/shapes/mandible/template.particles'),
    ],
)
def test_the_script_goes_on_without_what_a_step_left_out(step, product, made, tmp_path):
    """And not where the step made nothing."""
    path = tmp_path / product
    makes = f'mkdir -p {path.parent}; touch {path}' if made else ''
    words = ['public', '--work-dir', 'work', '--out', 'model']
    done = train_script(tmp_path, *words, LEAVES_OUT=step, MAKES=makes)
    assert done.returncode == int(not made)
    assert ('tools/export_model.py' in (tmp_path / 'calls').read_text()) == made
    assert ('going on without what was left out' in done.stdout) == made


def test_the_script_converts_again_until_nobody_is_left_out(tmp_path):
    path = tmp_path / 'work/source/meta.csv'
    words = ['public', '--work-dir', 'work', '--out', 'model']
    makes = {'MAKES': f'mkdir -p {path.parent}; touch {path}'}

    def converts(**variables):
        (tmp_path / 'calls').write_text('')
        assert train_script(tmp_path, *words, **variables).returncode == 0
        return 'from_openkbp' in (tmp_path / 'calls').read_text()

    assert converts(LEAVES_OUT='from_openkbp', **makes)
    assert converts()
    assert not converts()
    words[0] = 'other'
    assert converts()


@pytest.mark.parametrize(
    'words, told', [((), 'name provided-data'), (('a', '--what', '1'), 'unknown option --what')]
)
def test_the_script_says_what_it_misses(words, told, tmp_path):
    done = train_script(tmp_path, *words)
    assert done.returncode == 1 and done.stderr.startswith('error: ') and told in done.stderr
