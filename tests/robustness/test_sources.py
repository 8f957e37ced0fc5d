"""Sources as people have them: the right dataset, or one sentence for the subject that is wrong."""

import numpy as np
import pytest

from massm.cli import run_command
from massm.cohort.manifest import load_manifest
from tests.mr_cohort import AFFINE, SHAPE, VALUES, save, subject, write_cohort


def prepare(source, out, *more):
    command = [source, out, '--anatomies', *VALUES, '--spacing', '2', '--jobs', '1', *more]
    return run_command('prepare_dataset', [str(word) for word in command])


def mask(value=1):
    return (subject(0)[0] == value).astype(np.float32)


def organ(root):
    return root / 'p0/segmentations/bean.nii.gz'


def probabilities(root):
    save(organ(root), np.linspace(0, 1, mask().size, dtype=np.float32).reshape(SHAPE) * mask())


def scaled_by_the_header(root):
    import nibabel

    image = nibabel.Nifti1Image(mask().astype(np.uint8), AFFINE)
    image.header.set_slope_inter(1 / 255, 0)
    nibabel.save(image, organ(root))


def inverted(root):
    save(organ(root), 1 - mask())


def two_frames(root):
    save(organ(root), np.stack([mask(), mask(2)], -1))


def not_a_number(root):
    save(organ(root), np.where(mask() > 0, 1, np.nan))


def negative(root):
    save(organ(root), -mask())


def of_another_anatomy(root):
    save(organ(root), mask(2))


def shifted_by_half_a_voxel(root):
    affine = AFFINE.copy()
    affine[:3, 3] += 1.0
    save(organ(root), mask(), affine)


def a_folder_instead_of_a_file(root):
    organ(root).unlink()
    organ(root).mkdir()


def image_gone(root):
    (root / 'p0/mri.nii.gz').unlink()


def a_ct_instead_of_the_mr(root):
    body = subject(0)[1] > 0.1 * subject(0)[1].max()
    save(root / 'p0/mri.nii.gz', np.where(body, 40, -1000).astype(np.int16))


WRONG = {
    probabilities: 'threshold probabilities',
    scaled_by_the_header: 'undo scaling',
    inverted: 'is the mask inverted?',
    two_frames: 'not 3D',
    not_a_number: 'NaN',
    negative: 'a mask holds 0 and one other whole number',
    of_another_anatomy: 'is the same mask as bean',
    shifted_by_half_a_voxel: 'resample the mask onto the image',
    a_folder_instead_of_a_file: 'no such file',
    image_gone: 'no such file',
    a_ct_instead_of_the_mr: 'is a CT by its values',
}


@pytest.mark.parametrize('spoil', WRONG)
def test_one_wrong_subject_is_told_and_left_out(spoil, tmp_path, capsys, tell):
    source = write_cohort(tmp_path / 'src', 'totalseg', 2)
    spoil(source)
    assert prepare(source, tmp_path / 'out') == 1
    said = capsys.readouterr().out
    told = [line for line in said.splitlines() if line.startswith('left out: p0:')]
    assert len(told) == 1 and WRONG[spoil] in told[0], said
    assert [s.id for s in load_manifest(tmp_path / 'out').subjects] == ['p1']
    tell(told[0])


def mask_in_halves(root):
    save(organ(root), mask() * (np.arange(SHAPE[1]) % 12 != 7)[None, :, None])


def masks_of_floats_with_noise(root):
    save(organ(root), mask() * 1.0002)


def labelled_255(root):
    save(organ(root), 255 * mask())


def hidden_files(root):
    for name in ('._bean.nii.gz', '.DS_Store'):
        (root / 'p0/segmentations' / name).write_bytes(b'a Mac was here')
    (root / '.ipynb_checkpoints/segmentations').mkdir(parents=True)


def table_from_a_spreadsheet(root):
    rows = 'image_id,split,age\r\n p0 ,train,"7,5"\r\np1,test,\r\n'
    (root / 'meta.csv').write_bytes('\ufeff'.encode() + rows.encode())


FINE = {
    mask_in_halves: 'truncated',
    masks_of_floats_with_noise: 'ok',
    labelled_255: 'ok',
    hidden_files: 'ok',
    table_from_a_spreadsheet: 'ok',
}


@pytest.mark.parametrize('change', FINE)
def test_unusual_subjects_are_prepared(change, tmp_path, tell):
    source = write_cohort(tmp_path / 'src', 'totalseg', 2)
    change(source)
    assert prepare(source, tmp_path / 'out') == 0
    found = {
        s.id: s.anatomies['bean'].status.value for s in load_manifest(tmp_path / 'out').subjects
    }
    assert found == {'p0': FINE[change], 'p1': 'ok'}
    tell(f'prepared, the bean is {FINE[change]}')


def split_in_capitals(root):
    (root / 'meta.csv').write_text('image_id;split\np0;Train\np1;test\n')


def two_splits(root):
    (root / 'meta.csv').write_text('image_id;split\np0;train\np0;test\np1;test\n')


@pytest.mark.parametrize('change', [split_in_capitals, two_splits])
def test_a_table_of_splits_that_is_none_stops_everything(change, tmp_path, capsys):
    source = write_cohort(tmp_path / 'src', 'totalseg', 2)
    change(source)
    assert prepare(source, tmp_path / 'out') == 1
    said = capsys.readouterr().err
    assert said.startswith('error: ') and 'meta.csv' in said and said.count('\n') == 1
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('where', ['a file', 'the source itself', 'below the source'])
def test_where_a_dataset_cannot_go(where, tmp_path, capsys):
    source = write_cohort(tmp_path / 'src', 'totalseg', 1)
    before = sorted(source.rglob('*'))
    (tmp_path / 'file').write_text('mine')
    out = {'a file': tmp_path / 'file', 'the source itself': source}.get(where, source / 'p0')
    assert prepare(source, out) == 1
    said = capsys.readouterr().err
    assert said.startswith('error: ') and said.count('\n') == 1
    assert sorted(source.rglob('*')) == before and (tmp_path / 'file').read_text() == 'mine'


def test_a_description_of_somebody_elses_is_not_replaced(tmp_path, capsys):
    source = write_cohort(tmp_path / 'src', 'totalseg', 1)
    theirs = write_cohort(tmp_path / 'theirs', 'nnunet', 1) / 'dataset.json'
    before = theirs.read_text()
    assert prepare(source, tmp_path / 'theirs') == 1
    assert 'is there and no MASSM dataset' in capsys.readouterr().err
    assert theirs.read_text() == before and not (tmp_path / 'theirs/images').exists()
