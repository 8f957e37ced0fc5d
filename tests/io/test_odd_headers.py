"""Headers that say little, or say it in other units, or are broken."""

import gzip

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from massm.errors import ImageError
from massm.io.detached import data_files
from massm.io.images import read_scan
from massm.io.nifti import map_volume, read_mask, write_volume
from massm.io.placement import itk_placement
from massm.structures import Grid
from tests.robustness.scans import itk_image, nifti, nifti_bytes

AFFINE = np.array([[3.0, 0, 0, -30], [0, 4, 0, 15], [0, 0, 5, 400], [0, 0, 0, 1]])
UNKNOWN = 'left and right may be exchanged'


@pytest.fixture
def hu(rng):
    return rng.integers(-1024, 1500, (9, 8, 7)).astype(np.int16)


def patched(path, hu, *changes, affine=AFFINE):
    """The volume with bytes of its header changed."""
    content = bytearray(nifti_bytes(hu, affine))
    for place, value in changes:
        content[place : place + len(value)] = value
    path.write_bytes(gzip.compress(bytes(content)) if path.suffix == '.gz' else bytes(content))
    return path


NO_CODES = (252, b'\0' * 4)


@pytest.mark.parametrize('name', ['a.nii', 'a.nii.gz'])
def test_a_scan_without_orientation_is_told(hu, tmp_path, name):
    scan = read_scan(patched(tmp_path / name, hu, NO_CODES))
    assert not scan.oriented and UNKNOWN in scan.warnings[0]
    whole = read_scan(nifti(tmp_path / f'b{name}', hu, AFFINE))
    assert whole.oriented and not any('the patient' in text for text in whole.warnings)


def test_its_label_map_lies_on_it_in_every_program(hu, tmp_path):
    path = patched(tmp_path / 'a.nii.gz', hu, NO_CODES)
    scan = read_scan(path)
    write_volume(tmp_path / 'labels.nii.gz', (hu > 0).astype(np.uint8), scan.grid, scan.oriented)
    ours, theirs = (nibabel.load(tmp_path / n) for n in ('labels.nii.gz', 'a.nii.gz'))
    assert np.allclose(ours.affine, theirs.affine) and int(ours.header['sform_code']) == 0
    ours, theirs = (sitk.ReadImage(str(tmp_path / n)) for n in ('labels.nii.gz', 'a.nii.gz'))
    assert np.allclose(ours.GetOrigin(), theirs.GetOrigin())
    assert np.allclose(ours.GetDirection(), theirs.GetDirection())
    assert np.allclose(ours.GetSpacing(), theirs.GetSpacing())


def test_two_placements_that_differ_are_told(hu, tmp_path):
    image = nibabel.Nifti1Image(hu, AFFINE)
    mirrored = np.diag([-1.0, 1, 1, 1]) @ AFFINE
    image.set_qform(mirrored, 1)
    nibabel.save(image, tmp_path / 'a.nii')
    assert any('sform and qform' in text for text in read_scan(tmp_path / 'a.nii').warnings)


@pytest.mark.parametrize(('unit', 'factor'), [('micron', 1000.0), ('meter', 0.001)])
def test_how_far_they_differ_is_told_in_mm(hu, tmp_path, unit, factor):
    def remarks(moved_mm):
        scaled, moved = (np.diag([factor] * 3 + [1]) @ AFFINE for _ in range(2))
        moved[0, 3] += moved_mm * factor
        image = nibabel.Nifti1Image(hu, scaled)
        image.set_sform(scaled, 1)
        image.set_qform(moved, 1)
        image.header.set_xyzt_units(unit)
        nibabel.save(image, tmp_path / 'a.nii')
        return ' '.join(read_scan(tmp_path / 'a.nii').warnings)

    assert 'are 100 mm apart' in remarks(100) and 'apart' not in remarks(0.1)


@pytest.mark.parametrize('values', [(0.9, 0.9, 0.9), (np.nan, 0, 0)])
def test_a_qform_that_is_none_is_told_beside_a_sform(hu, tmp_path, values):
    image = nibabel.Nifti1Image(hu, AFFINE)
    image.set_sform(AFFINE, 1)
    image.set_qform(AFFINE, 1)
    for name, value in zip('bcd', values, strict=True):
        image.header[f'quatern_{name}'] = value
    nibabel.save(image, tmp_path / 'a.nii')
    scan = read_scan(tmp_path / 'a.nii')
    assert np.allclose(scan.grid.affine, AFFINE) and scan.oriented
    assert any('qform is broken; the sform is taken' in text for text in scan.warnings)


def nrrd(path, hu, *lines):
    head = ['NRRD0004', 'type: short', 'dimension: 3', f'sizes: {" ".join(map(str, hu.shape))}']
    head += [*lines, 'encoding: raw', 'endian: little']
    path.write_bytes('\n'.join([*head, '', '']).encode() + hu.tobytes('F'))
    return path


def test_nrrd_and_metaimage_that_leave_it_to_be_guessed(hu, tmp_path):
    bare = read_scan(nrrd(tmp_path / 'a.nrrd', hu, 'spacings: 3 4 5'))
    assert UNKNOWN in bare.warnings[0] and np.allclose(bare.grid.spacing, (3, 4, 5))
    placed = ('space: left-posterior-superior', 'space directions: (3,0,0) (0,4,0) (0,0,5)')
    whole = read_scan(nrrd(tmp_path / 'b.nrrd', hu, *placed))
    assert not any(UNKNOWN in text for text in whole.warnings)
    big = np.tile(hu, (4, 4, 4))
    sizeless = read_scan(nrrd(tmp_path / 'c.nrrd', big))
    assert any('voxel size' in text for text in sizeless.warnings)
    for name in ('a.mha', 'a.nrrd'):
        sitk.WriteImage(itk_image(hu, AFFINE), str(tmp_path / name))
        assert not any('the file does not say' in t for t in read_scan(tmp_path / name).warnings)
    head = 'ObjectType = Image\nNDims = 3\nDimSize = 9 8 7\nElementType = MET_SHORT\n'
    head += 'ElementSpacing = 3 4 5\nElementDataFile = LOCAL\n'
    (tmp_path / 'b.mha').write_bytes(head.encode() + hu.tobytes('F'))
    assert UNKNOWN in read_scan(tmp_path / 'b.mha').warnings[0]


BARE = {
    'a.nrrd': ('spacings: 3 4 5',),
    'b.nrrd': ('space dimension: 3', 'space directions: (3,0,0) (0,4,0) (0,0,5)'),
    'c.nrrd': (
        'space: scanner-xyz',
        'space directions: (3,0,0) (0,4,0) (0,0,5)',
        'space origin: (10,20,30)',
    ),
}


@pytest.mark.parametrize('name', BARE)
def test_the_label_map_of_a_bare_nrrd_lies_where_itk_lays_the_scan(hu, tmp_path, name):
    path = nrrd(tmp_path / name, hu, *BARE[name])
    scan = read_scan(path)
    assert UNKNOWN in scan.warnings[0]
    write_volume(tmp_path / 'labels.nii.gz', (hu > 0).astype(np.uint8), scan.grid, scan.oriented)
    ours, theirs = (sitk.ReadImage(str(p)) for p in (tmp_path / 'labels.nii.gz', path))
    assert np.allclose(ours.GetOrigin(), theirs.GetOrigin())
    assert np.allclose(ours.GetDirection(), theirs.GetDirection())
    assert np.allclose(ours.GetSpacing(), theirs.GetSpacing())


@pytest.mark.parametrize(
    ('space', 'told'),
    [
        ('scanner-xyz', False),
        ('3D-right-handed', False),
        ('RAS', True),
        ('Left-Anterior-Superior', True),
    ],
)
def test_an_nrrd_in_a_frame_without_a_patient_is_told(hu, tmp_path, space, told):
    axes = 'space directions: (3,0,0) (0,4,0) (0,0,5)'
    path = nrrd(tmp_path / 'a.nrrd', hu, f'space: {space}', axes)
    oriented, notes = itk_placement(path)
    assert oriented is told and [UNKNOWN in note for note in notes] == [True] * (not told)


def test_a_frame_is_one_of_those_that_there_are(hu, tmp_path):
    path = nifti(tmp_path / 'a.nii.gz', np.stack([hu, hu + 1, 2 * hu], -1), AFFINE)
    assert np.array_equal(read_scan(path, 1).volume, hu + 1)
    with pytest.raises(ImageError, match='not 3D'):
        read_scan(path)
    with pytest.raises(ImageError, match='has no frame 3'):
        read_scan(path, 3)
    alone = nifti(tmp_path / 'b.nii.gz', hu, AFFINE)
    assert np.array_equal(read_scan(alone, 0).volume, hu)
    with pytest.raises(ImageError, match='has no frame 1'):
        read_scan(alone, 1)


def test_what_to_do_about_several_frames_is_told(hu, tmp_path):
    frames = np.stack([hu, hu], 0)
    header = ('type: short', 'dimension: 4', f'sizes: 2 {" ".join(map(str, hu.shape))}')
    header = ('NRRD0004', *header, 'kinds: list domain domain domain', 'encoding: raw')
    text = '\n'.join([*header, 'endian: little', '', ''])
    (tmp_path / 'a.nrrd').write_bytes(text.encode() + frames.tobytes('F'))
    nifti(tmp_path / 'a.nii', frames.transpose(1, 2, 3, 0), AFFINE)
    for name, told in (('a.nrrd', 'has 2 values, colours or frames'), ('a.nii', 'not 3D')):
        with pytest.raises(ImageError, match=f'{told}.* save one as a file of its own'):
            read_scan(tmp_path / name)


HEADERS = {
    'a.mhd': ('NDims = 3\nElementDataFile = a.raw\n', ['a.raw']),
    'list.mhd': (
        'NDims = 3\r\nElementDataFile = LIST\r\ns1.raw\r\ns2.raw\r\n',
        ['s1.raw', 's2.raw'],
    ),
    'pattern.mhd': ('ElementDataFile = s%d.raw 1 2 1\n', ['s1.raw', 's2.raw']),
    'local.mha': ('ElementDataFile = LOCAL\n', []),
    'a.nhdr': ('NRRD0004\ntype: short\ndata file: a.raw\n', ['a.raw']),
    'list.nhdr': ('NRRD0004\ndatafile: LIST\ns1.raw\ns2.raw\n', ['s1.raw', 's2.raw']),
    'local.nrrd': ('NRRD0004\ntype: short\n\ndata file: a.raw\n', []),
    'gone.nhdr': ('NRRD0004\ndata file: gone.raw\n', []),
    'odd.nhdr': (f'NRRD0004\ndata file: {"x" * 999}\n', []),
}


@pytest.mark.parametrize('name', HEADERS)
def test_the_files_of_voxels_that_a_header_names(tmp_path, name):
    for other in ('a.raw', 's1.raw', 's2.raw', 'other.raw'):
        (tmp_path / other).write_bytes(b'voxels')
    text, named = HEADERS[name]
    (tmp_path / name).write_bytes(text.encode())
    assert data_files(tmp_path / name) == [tmp_path / n for n in named]
    assert data_files(tmp_path / 'no.mhd') == []


@pytest.mark.parametrize(('unit', 'factor'), [('micron', 1000.0), ('meter', 0.001), ('mm', 1.0)])
def test_the_headers_unit_of_length_counts(hu, tmp_path, unit, factor):
    """As ITK and Slicer read it."""
    scaled = np.diag([factor] * 3 + [1]) @ AFFINE
    image = nibabel.Nifti1Image(hu, scaled)
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / 'a.nii.gz')
    assert np.allclose(read_scan(tmp_path / 'a.nii.gz').grid.affine, AFFINE, rtol=1e-5)
    spacing = sitk.ReadImage(str(tmp_path / 'a.nii.gz')).GetSpacing()
    assert np.allclose(spacing, (3, 4, 5), rtol=1e-5)


BROKEN = {
    'intercept': ((112, np.float32([1, np.nan]).tobytes()),),
    'datatype': ((70, np.int16([1]).tobytes()),),
    'dimensions': ((40, np.int16([9]).tobytes()),),
    'negative': ((42, np.int16([-5]).tobytes()),),
    'offset': ((108, np.float32([np.nan]).tobytes()),),
}


@pytest.mark.parametrize('name', ['a.nii', 'a.nii.gz'])
@pytest.mark.parametrize('kind', BROKEN)
def test_a_broken_header_is_one_sentence(hu, tmp_path, kind, name):
    path = patched(tmp_path / name, hu, *BROKEN[kind])
    for read in (read_scan, map_volume) if name == 'a.nii' else (read_scan,):
        if read is map_volume and kind == 'offset':
            continue
        with pytest.raises(ImageError, match=r'a\.nii') as error:
            read(path)
        assert '\n' not in str(error.value)


def save_mask(path, values, **scale):
    image = nibabel.Nifti1Image(values, AFFINE)
    if scale:
        image.header.set_slope_inter(scale['slope'], 0)
    nibabel.save(image, path)
    return path


MASK = np.pad(np.ones((4, 4, 3)), 2)


@pytest.mark.parametrize('value', [1, 255, 7])
def test_a_mask_may_hold_any_one_whole_number(tmp_path, value):
    values = (value * MASK).astype(np.uint8)
    assert np.array_equal(read_mask(save_mask(tmp_path / 'm.nii', values))[0], MASK > 0)
    nearly = (value * MASK + 1e-6).astype(np.float32)
    assert np.array_equal(read_mask(save_mask(tmp_path / 'm.nii', nearly))[0], MASK > 0)


def test_what_is_no_mask_is_refused_with_its_values(tmp_path):
    def refused(values, **scale):
        with pytest.raises(ImageError, match=r'm\.nii: values are') as error:
            read_mask(save_mask(tmp_path / 'm.nii', values, **scale))
        return str(error.value)

    two = MASK.astype(np.uint8)
    two[3] *= 2
    assert 'values are 0, 1, 2; ' in refused(two) and 'labels of several' in refused(two)
    assert 'threshold' in refused((MASK * 0.3).astype(np.float32))
    assert '0.003922' in refused(MASK.astype(np.uint8), slope=1 / 255)
    soft = MASK.astype(np.float32)
    soft[3] *= 0.4
    assert '0.4, 1' in refused(soft)
    assert '-1, 0' in refused(-MASK.astype(np.int16))
    assert not read_mask(save_mask(tmp_path / 'm.nii', 0 * two))[0].any()


def test_a_grid_half_a_voxel_off_does_not_grow_a_mask():
    from massm.cohort.resample import resample_mask

    index = np.stack(np.indices((30, 30, 30)), -1)
    ball = ((index - 14.3) ** 2).sum(-1) < 80
    grid = Grid(ball.shape, AFFINE)
    for shift in ((0.5, 0, 0), (0.5, 0.5, 0.5), (-0.5, 0.5, -0.5)):
        moved = np.array(AFFINE)
        moved[:3, 3] = grid.to_patient(np.array(shift))
        count = resample_mask(ball, grid, Grid(ball.shape, moved)).sum()
        assert count == pytest.approx(ball.sum(), rel=0.025), shift
    box = np.pad(np.ones((10, 10, 10), bool), 5)
    moved[:3, 3] = grid.to_patient(np.array((0.5, 0, 0)))
    grid = Grid(box.shape, AFFINE)
    assert resample_mask(box, grid, Grid(box.shape, moved)).sum() in (999, 1000)
