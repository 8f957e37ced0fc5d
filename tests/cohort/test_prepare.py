import os
import shutil
import subprocess
import sys

import nibabel
import numpy as np
import pytest
from joblib.externals.loky.process_executor import TerminatedWorkerError
from scipy.ndimage import binary_dilation, binary_erosion

from massm.cli import run_command
from massm.cohort import prepare as cohort_prepare
from massm.cohort.manifest import load_manifest
from massm.cohort.resample import resample
from massm.commands import prepare_dataset
from massm.io.meshes import read_mesh
from massm.io.nifti import read_mask, read_volume
from massm.shape.surface import surface_distance
from massm.structures import AnatomyStatus, Grid
from tests.conftest import ROOT

SHAPE = (40, 44, 36)


def save(path, data, affine):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(data, affine), path)


def ellipsoid(center=(20, 22, 18), radii=(9, 7, 6)):
    index = np.stack(np.indices(SHAPE), -1)
    return ((((index - center) / radii) ** 2).sum(-1) <= 1).astype(np.uint8)


def write_subject(folder, affine, order=None, mask=None, ct=None):
    """A CT and a mask of an organ, stored in the array order of ``order`` (nibabel codes)."""
    mask = ellipsoid() if mask is None else mask
    if ct is None:
        ct = np.where(mask, 100, -80).astype(np.int16)
        ct[0, 0, 0] = 0  # an image of one value is refused
    for name, data in (('ct', ct), ('segmentations/organ', mask)):
        image = nibabel.Nifti1Image(data, affine)
        if order is not None:
            start = nibabel.orientations.io_orientation(affine)
            goal = nibabel.orientations.axcodes2ornt(order)
            image = image.as_reoriented(nibabel.orientations.ornt_transform(start, goal))
        path = folder / f'{name}.nii.gz'
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(image, path)


def prepare(source, out, *more):
    return run_command(
        'prepare_dataset', [str(source), str(out), '--anatomies', 'organ', '--jobs', '1', *more]
    )


AFFINE = np.array([[2.0, 0, 0, -30], [0, 1.5, 0, 15], [0, 0, 3, 400], [0, 0, 0, 1]])


def test_axis_order_and_direction_change_nothing_in_the_patient(tmp_path):
    orders = ['RAS', 'LPS', 'PIR', 'SAL', 'ILA']
    for order in orders:
        write_subject(tmp_path / 'src' / order, AFFINE, order)
    assert prepare(tmp_path / 'src', tmp_path / 'out') == 0
    reference = read_mesh(tmp_path / 'out/shapes/organ/meshes/RAS.ply')
    image, grid = read_volume(tmp_path / 'out/images/RAS.nii')
    for order in orders[1:]:
        mesh = read_mesh(tmp_path / f'out/shapes/organ/meshes/{order}.ply')
        assert mesh.volume() > 0
        assert surface_distance(mesh.vertices, reference).max() < 0.25
        other, other_grid = read_volume(tmp_path / f'out/images/{order}.nii')
        assert other_grid.is_close(grid) and np.abs(other - image).max() <= 1


def test_an_oblique_scan_lands_where_the_patient_is(tmp_path):
    from scipy.spatial.transform import Rotation

    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler('xyz', (10, 15, -20), degrees=True).as_matrix()
    write_subject(tmp_path / 'src/a', turn @ AFFINE)
    assert prepare(tmp_path / 'src', tmp_path / 'out', '--spacing', '2') == 0
    mesh = read_mesh(tmp_path / 'out/shapes/organ/meshes/a.ply')
    center = (turn @ AFFINE @ [20, 22, 18, 1])[:3]
    assert np.linalg.norm(mesh.vertices.mean(0) - center) < 0.5
    mask, grid = read_mask(tmp_path / 'out/masks/organ/a.nii.gz')
    assert np.linalg.norm(grid.to_patient(np.argwhere(mask).mean(0)) - center) < 0.5
    assert mask.sum() * 8 == pytest.approx(ellipsoid().sum() * 9, rel=0.05)


@pytest.mark.parametrize('order', ['RAS', 'LPS', 'PIR'])
def test_what_is_bright_lies_where_it_lies_in_the_patient(tmp_path, order):
    """An off-centre cube of 12 mm, in a scan of three spacings that is cropped to the body."""
    cube = np.zeros(SHAPE, np.uint8)
    cube[24:30, 9:17, 21:25] = 1
    ct = np.where(cube, 1000, -80).astype(np.int16)
    ct[:13] = -1000
    write_subject(tmp_path / 'src/a', AFFINE, order, cube, ct)
    assert prepare(tmp_path / 'src', tmp_path / 'out', '--spacing', '2') == 0
    image, grid = read_volume(tmp_path / 'out/images/a.nii')
    mask, same = read_mask(tmp_path / 'out/masks/organ/a.nii.gz')
    assert same.is_close(grid) and grid.corners_mm().min(0)[0] > AFFINE[0, 3] + 10
    for bright in (image > 460, mask):
        found = grid.to_patient(np.argwhere(bright).mean(0))
        assert found == pytest.approx((AFFINE @ [26.5, 12.5, 22.5, 1])[:3], abs=0.8)
    assert image[binary_erosion(mask)].min() > 900
    assert image[~binary_dilation(mask, iterations=2)].max() < 0


def test_grey_values_within_a_prepared_mask_are_those_of_the_organ(tiny_dataset, tiny_source):
    """But for its border, which another grid of 8 mm shares out anew."""
    manifest = load_manifest(tiny_dataset)
    for subject in manifest.subjects:
        image, _ = read_volume(manifest.path(subject.image))
        ct, _ = read_volume(tiny_source / subject.id / 'ct.nii.gz')
        for name, entry in subject.anatomies.items():
            if entry.mask:
                source = tiny_source / subject.id / f'segmentations/{name}.nii.gz'
                found = image[read_mask(manifest.path(entry.mask))[0]].mean()
                assert found == pytest.approx(ct[read_mask(source)[0]].mean(), abs=45)


@pytest.mark.parametrize('dtype', [np.int32, np.float32, np.uint8, np.float64])
def test_number_types_and_a_fourth_axis(tmp_path, dtype):
    mask = ellipsoid()
    save(tmp_path / 'src/a/ct.nii.gz', (mask * 100).astype(dtype)[..., None], AFFINE)
    save(tmp_path / 'src/a/segmentations/organ.nii.gz', mask.astype(dtype)[..., None], AFFINE)
    assert prepare(tmp_path / 'src', tmp_path / 'out') == 0
    assert load_manifest(tmp_path / 'out').subjects[0].anatomies['organ'].status.is_whole


def test_statuses_components_and_resuming(tmp_path, capsys):
    cut, two = np.zeros(SHAPE, np.uint8), ellipsoid()
    cut[0:6, 10:20, 10:20] = 1
    two[36:38, 40, 30] = 1
    write_subject(tmp_path / 'src/cut', AFFINE, mask=cut)
    write_subject(tmp_path / 'src/two', AFFINE, mask=two)
    write_subject(tmp_path / 'src/empty', AFFINE, mask=np.zeros(SHAPE, np.uint8))
    write_subject(tmp_path / 'src/gone', AFFINE)
    (tmp_path / 'src/gone/segmentations/organ.nii.gz').unlink()
    assert prepare(tmp_path / 'src', tmp_path / 'out') == 0
    printed = capsys.readouterr().out
    assert 'two/organ: 2 voxels off the largest part left out' in printed
    assert statuses(tmp_path / 'out') == {
        'cut': AnatomyStatus.TRUNCATED,
        'two': AnatomyStatus.OK,
        'empty': AnatomyStatus.EMPTY,
        'gone': AnatomyStatus.UNLABELLED,
    }
    image = tmp_path / 'out/images/cut.nii'
    before = image.stat().st_mtime_ns
    write_subject(tmp_path / 'src/two', AFFINE)
    assert prepare(tmp_path / 'src', tmp_path / 'out') == 0
    assert '(3 unchanged since an earlier run)' in capsys.readouterr().out
    assert image.stat().st_mtime_ns == before


def test_a_source_that_changed_and_kept_its_size_is_prepared_again(tmp_path, capsys):
    write_subject(tmp_path / 'src/a', AFFINE)
    file = tmp_path / 'src/a/segmentations/organ.nii'
    file.with_suffix('.nii.gz').unlink()
    save(file, ellipsoid(), AFFINE)
    size = file.stat().st_size
    assert prepare(tmp_path / 'src', tmp_path / 'out') == 0
    save(file, ellipsoid(radii=(5, 6, 7)), AFFINE)
    assert file.stat().st_size == size
    assert prepare(tmp_path / 'src', tmp_path / 'out') == 0
    assert '(0 unchanged since an earlier run)' in capsys.readouterr().out
    mask, grid = read_mask(tmp_path / 'out/masks/organ/a.nii.gz')
    expected = 9 * ellipsoid(radii=(5, 6, 7)).sum()
    assert mask.sum() * grid.voxel_volume == pytest.approx(expected, rel=0.1)


def statuses(root):
    return {s.id: s.anatomies['organ'].status for s in load_manifest(root).subjects}


def test_a_name_that_the_terminal_lacks_letters_for_stops_nothing(tmp_path):
    two = ellipsoid()
    two[36:38, 40, 30] = 1
    write_subject(tmp_path / 'src/東京_01', AFFINE, mask=two)
    words = ['src', 'out', '--anatomies', 'organ', '--jobs', '1']
    done = subprocess.run(
        [sys.executable, '-m', 'massm', 'prepare', *words],
        cwd=tmp_path,
        env={**os.environ, 'PYTHONIOENCODING': 'latin-1', 'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
        encoding='latin-1',
    )
    assert done.returncode == 0, done.stderr
    assert r'\u6771\u4eac_01/organ: 2 voxels off the largest part' in done.stdout
    assert [s.id for s in load_manifest(tmp_path / 'out').subjects] == ['東京_01']


def test_a_dataset_is_written_before_it_is_told_of(tmp_path, monkeypatch):
    def broken(*args):
        raise BrokenPipeError

    write_subject(tmp_path / 'src/a', AFFINE)
    monkeypatch.setattr(prepare_dataset, '_report', broken)
    assert prepare(tmp_path / 'src', tmp_path / 'out') == 1
    assert [s.id for s in load_manifest(tmp_path / 'out').subjects] == ['a']


def test_a_patient_called_as_generated_ones_are_is_refused(tmp_path, capsys):
    write_subject(tmp_path / 'src/generated_a', AFFINE)
    assert prepare(tmp_path / 'src', tmp_path / 'out') == 1
    assert 'generated_a would be taken for a patient that massm augment' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_names_in_brackets_are_told_as_they_are(tmp_path, capsys):
    name = 'kidney [left]'
    write_subject(tmp_path / 'src/a', AFFINE)
    folder = tmp_path / 'src/a/segmentations'
    (folder / 'organ.nii.gz').rename(folder / f'{name}.nii.gz')
    words = [str(tmp_path / 'src'), str(tmp_path / 'out'), '--anatomies', name, '--jobs', '1']
    assert run_command('prepare_dataset', words) == 0
    assert f'│ {name} ' in capsys.readouterr().out
    words = [str(tmp_path / 'out'), '--particles', '16', '--jobs', '1']
    assert run_command('build_pdm', words) == 0
    assert f'│ {name} ' in capsys.readouterr().out


def test_a_killed_process_says_what_to_do(tmp_path, monkeypatch, capsys):
    def killed(tasks):
        raise TerminatedWorkerError('SIGKILL')

    write_subject(tmp_path / 'src/a', AFFINE)
    monkeypatch.setattr(cohort_prepare, 'Parallel', lambda **options: killed)
    assert prepare(tmp_path / 'src', tmp_path / 'out', '--jobs', '4') == 1
    error = capsys.readouterr().err
    assert 'lack of memory; run again with --jobs 2' in error and error.count('\n') == 1


def test_a_missing_file_says_nothing_unless_told_otherwise(tmp_path, capsys):
    for name in ('labelled', 'not'):
        write_subject(tmp_path / 'src' / name, AFFINE)
    (tmp_path / 'src/not/segmentations/organ.nii.gz').unlink()
    assert prepare(tmp_path / 'src', tmp_path / 'out') == 0
    assert 'unlabelled' in capsys.readouterr().out
    assert statuses(tmp_path / 'out')['not'] is AnatomyStatus.UNLABELLED
    assert prepare(tmp_path / 'src', tmp_path / 'out', '--missing', 'absent') == 0
    assert statuses(tmp_path / 'out')['not'] is AnatomyStatus.ABSENT


def test_a_mask_that_vanishes_at_the_working_spacing_is_unlabelled(tmp_path, capsys):
    dot = np.zeros(SHAPE, np.uint8)
    dot[20, 20, 20] = 1
    write_subject(tmp_path / 'src/a', AFFINE, mask=dot)
    write_subject(tmp_path / 'src/b', AFFINE)
    assert prepare(tmp_path / 'src', tmp_path / 'out', '--spacing', '9') == 0
    assert 'a/organ: vanishes at 9 mm' in capsys.readouterr().out
    assert statuses(tmp_path / 'out')['a'] is AnatomyStatus.UNLABELLED


def test_a_contour_beyond_the_imaged_body_is_truncated(tmp_path, capsys):
    """As a cord contoured through slices where nothing was imaged: its surface leaves the volume
    that the network will see, which is cropped to the body."""
    mask = ellipsoid(radii=(3, 3, 14))
    ct = np.where(mask, 100, -80).astype(np.int16)
    ct[:, :, 26:] = -1000
    save(tmp_path / 'src/a/ct.nii.gz', ct, AFFINE)
    save(tmp_path / 'src/a/segmentations/organ.nii.gz', mask, AFFINE)
    assert prepare(tmp_path / 'src', tmp_path / 'out') == 0
    assert statuses(tmp_path / 'out')['a'] is AnatomyStatus.TRUNCATED


def test_a_tip_cut_off_by_the_crop_is_truncated(tmp_path):
    """The network's volume ends with the body, a slice below the organ's tip: too little of its
    surface to tell the end of the scan by, and it is cut all the same."""
    mask = ellipsoid(center=(20, 22, 16), radii=(15, 18, 7))
    mask[18:22, 20:24, 16:27] = 1
    whole = np.where(mask, 100, -80).astype(np.int16)
    cut = whole.copy()
    cut[:, :, 26:] = -1000
    for name, ct in (('a', whole), ('b', cut)):
        save(tmp_path / f'src/{name}/ct.nii.gz', ct, AFFINE)
        save(tmp_path / f'src/{name}/segmentations/organ.nii.gz', mask, AFFINE)
    assert prepare(tmp_path / 'src', tmp_path / 'out') == 0
    found = statuses(tmp_path / 'out')
    assert (found['a'], found['b']) == (AnatomyStatus.OK, AnatomyStatus.TRUNCATED)


def test_an_open_anatomy_has_masks_and_no_shapes(tmp_path, capsys):
    for name in 'ab':
        write_subject(tmp_path / 'src' / name, AFFINE)
    source, out = tmp_path / 'src', tmp_path / 'out'
    assert prepare(source, out, '--open', 'organ') == 0
    manifest = load_manifest(out)
    entry = manifest.subjects[0].anatomies['organ']
    assert entry.status is AnatomyStatus.TRUNCATED and entry.mask and entry.mesh is None
    assert run_command('build_pdm', [str(out), '--particles', '32']) == 1
    assert 'organ was prepared as open' in capsys.readouterr().err
    assert prepare(source, out, '--open', 'liver') == 1
    assert 'liver not among --anatomies' in capsys.readouterr().err


def test_an_organ_cut_by_padding_inside_the_volume_is_truncated(tmp_path):
    """Empty slices padded onto a scan: the organ ends where the scan does, not at the file's edge.
    A narrow airway beside another organ is not the end of the scan."""
    cut = ellipsoid(center=(20, 22, 24))
    cut[:, :, 28:] = 0
    body = np.where(cut, 100, -80).astype(np.int16)
    body[:, :, 28:] = -1000
    beside = np.where(ellipsoid(), 100, -80).astype(np.int16)
    beside[29:32, 20:24, :] = -1000
    for name, ct, mask in (('padded', body, cut), ('airway', beside, ellipsoid())):
        save(tmp_path / f'src/{name}/ct.nii.gz', ct, AFFINE)
        save(tmp_path / f'src/{name}/segmentations/organ.nii.gz', mask, AFFINE)
    assert prepare(tmp_path / 'src', tmp_path / 'out') == 0
    assert statuses(tmp_path / 'out') == {
        'padded': AnatomyStatus.TRUNCATED,
        'airway': AnatomyStatus.OK,
    }


def test_a_broken_subject_is_named_and_the_rest_goes_on(tmp_path, capsys):
    write_subject(tmp_path / 'src/good', AFFINE)
    write_subject(tmp_path / 'src/moved', AFFINE)
    shifted = AFFINE.copy()
    shifted[0, 3] += 10
    save(tmp_path / 'src/moved/segmentations/organ.nii.gz', ellipsoid(), shifted)
    write_subject(tmp_path / 'src/short', AFFINE)
    ct = tmp_path / 'src/short/ct.nii.gz'
    ct.write_bytes(ct.read_bytes()[:200])
    assert prepare(tmp_path / 'src', tmp_path / 'out') == 1
    printed = capsys.readouterr().out
    assert 'left out: moved' in printed and 'resample the mask' in printed
    assert 'left out: short' in printed and 'cannot be read' in printed
    assert [s.id for s in load_manifest(tmp_path / 'out').subjects] == ['good']


@pytest.mark.parametrize(
    'source, more, message',
    [
        ('nowhere', [], 'no such folder'),
        ('src', ['--anatomies', 'liver'], 'no subject has a mask of liver'),
        ('src', ['--spacing', '0'], '--spacing is in mm'),
    ],
)
def test_mistakes_are_one_sentence_and_exit_code_1(tmp_path, capsys, source, more, message):
    write_subject(tmp_path / 'src/a', AFFINE)
    assert prepare(tmp_path / source, tmp_path / 'out', *more) == 1
    error = capsys.readouterr().err
    assert message in error and error.count('\n') == 1
    assert not (tmp_path / 'out/dataset.json').exists()


def test_splits_come_from_meta_and_must_be_known(tmp_path, capsys):
    for name in 'ab':
        write_subject(tmp_path / f'src/{name}', AFFINE)
    (tmp_path / 'src/meta.csv').write_text('image_id;split\na;train\nb;test\n')
    assert prepare(tmp_path / 'src', tmp_path / 'out') == 0
    assert {s.id: s.split for s in load_manifest(tmp_path / 'out').subjects} == {
        'a': 'train',
        'b': 'test',
    }
    (tmp_path / 'src/meta.csv').write_text('image_id;split\na;train\n')
    assert prepare(tmp_path / 'src', tmp_path / 'out') == 1
    assert 'subject b has split None' in capsys.readouterr().err


def test_resampling_keeps_a_linear_field_and_fills_outside():
    grid = Grid((20, 20, 20), np.diag([2.0, 2, 2, 1]))
    ramp = grid.to_patient(np.stack(np.indices(grid.shape), -1).astype(float))[..., 0]
    target = Grid((10, 8, 8), np.diag([1.3, 1.3, 1.3, 1]) + np.eye(4, k=3) * 9)
    seen = resample(ramp, grid, target)
    expected = target.to_patient(np.stack(np.indices(target.shape), -1).astype(float))[..., 0]
    assert np.allclose(seen, expected, atol=1e-3)
    far = Grid((3, 3, 3), np.diag([1.0, 1, 1, 1]) + np.eye(4, k=3) * 900)
    assert (resample(ramp, grid, far) == -1024).all()


@pytest.mark.parametrize(('period', 'least', 'most'), [(2, 0.0, 0.2), (8, 0.8, 1.0)])
def test_resampling_to_twice_the_spacing_keeps_the_waves_that_it_can_hold(period, least, most):
    """Stripes finer than the target's voxels are evened out, not taken for wide ones."""
    grid = Grid((32, 20, 20), np.eye(4))
    wave = np.cos(2 * np.pi * np.indices(grid.shape)[0] / period)
    seen = resample(wave, grid, Grid((16, 10, 10), np.diag([2.0, 2, 2, 1])))
    assert least <= np.abs(seen[4:-4]).max() <= most


@pytest.mark.slow
def test_real_cohort_spleen_is_truncated(real_data, tmp_path):
    for name in ('s0000', 's0001', 's0008'):
        shutil.copytree(real_data / 'ct_cohort' / name, tmp_path / 'src' / name)
    (tmp_path / 'src/meta.csv').write_text('image_id;split\ns0000;train\ns0001;train\ns0008;test\n')
    command = [str(tmp_path / 'src'), str(tmp_path / 'out'), '--anatomies', 'spleen', 'kidney_left']
    assert run_command('prepare_dataset', command) == 0
    for subject in load_manifest(tmp_path / 'out').subjects:
        assert subject.anatomies['spleen'].status is AnatomyStatus.TRUNCATED
        assert subject.anatomies['kidney_left'].status is AnatomyStatus.OK
