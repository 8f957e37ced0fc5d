"""Odd inputs and what must come of them: a result (with a warning), or one sentence.

Each case is a function of a folder, the phantom's voxels and its affine, and returns what to give
to ``massm infer``. ``OK`` ones must give a result and a warning for each text, of which it is part,
and no others: the phantom's slices are 8 mm apart. ``BAD`` ones must end with exit code 1 and one
sentence that holds the text.
"""

import gzip
import zipfile

import nibabel
import numpy as np
import SimpleITK as sitk

from tests.cohort.test_rtstruct import structures
from tests.robustness.scans import (
    dicom,
    itk_image,
    nifti,
    nifti_bytes,
    reordered,
    truncated_gzip,
    zipped,
)

OK: dict = {}
BAD: dict = {}


def ok(*warnings, slices='slices 8.'):
    return lambda case: OK.setdefault(case.__name__, (case, (*warnings, slices)))


def bad(message):
    return lambda case: BAD.setdefault(case.__name__, (case, message))


def with_affine(data, affine, change):
    """The same grid seen through a changed affine."""
    return data.astype(np.int16), affine @ change


# -- scans that are unusual and fine


@ok()
def uncompressed(f, d, a):
    return nifti(f / 'a.nii', d.astype(np.int16), a)


@ok()
def upper_case_suffix(f, d, a):
    return nifti(f / 'a.nii.gz', d.astype(np.int16), a).rename(f / 'A.NII.GZ')


@ok()
def float_voxels(f, d, a):
    return nifti(f / 'a.nii.gz', d.astype(np.float32), a)


@ok()
def double_voxels(f, d, a):
    return nifti(f / 'a.nii.gz', d.astype(np.float64), a)


@ok()
def int32_voxels(f, d, a):
    return nifti(f / 'a.nii.gz', d.astype(np.int32), a)


@ok()
def unsigned_with_rescale(f, d, a):
    image = nibabel.Nifti1Image((d + 1024).clip(0).astype(np.uint16), a)
    image.header.set_slope_inter(1, -1024)
    path = f / 'a.nii.gz'
    nibabel.save(image, path)
    return path


@ok()
def big_endian(f, d, a):
    image = nibabel.Nifti1Image(d.astype('>i2'), a, nibabel.Nifti1Header(endianness='>'))
    nibabel.save(image, f / 'a.nii')
    return f / 'a.nii'


@ok()
def four_dimensions_of_one_frame(f, d, a):
    return nifti(f / 'a.nii.gz', d[..., None].astype(np.int16), a)


@ok()
def qform_only(f, d, a):
    image = nibabel.Nifti1Image(d.astype(np.int16), a)
    image.set_qform(a, 1)
    image.set_sform(None, 0)
    nibabel.save(image, f / 'a.nii.gz')
    return f / 'a.nii.gz'


@ok()
def negative_spacing(f, d, a):
    return nifti(f / 'a.nii.gz', *reordered(d.astype(np.int16), a, 'LPI'))


@ok('gantry tilt', 'ITK refuse it')
def sheared_like_a_tilted_gantry(f, d, a):
    shear = np.eye(4)
    shear[1, 2] = 0.2
    return nifti(f / 'a.nii.gz', *with_affine(d, a, shear))


@ok('shifted by 1024')
def air_at_zero(f, d, a):
    return nifti(f / 'a.nii.gz', (d + 1024).astype(np.int16), a)


@ok('not in HU')
def magnetic_resonance(f, d, a):
    image = np.abs(np.random.default_rng(0).normal(300, 100, d.shape))
    return nifti(f / 'a.nii.gz', image.astype(np.int16), a)


@ok('outside the range')
def values_of_no_tissue(f, d, a):
    return nifti(f / 'a.nii.gz', (20 * d).astype(np.int32), a)


@ok(slices='slices 16.')
def thick_slices(f, d, a):
    thin = np.diag([1, 1, 2.0, 1])
    return nifti(f / 'a.nii.gz', d[:, :, ::2].astype(np.int16), a @ thin)


@ok()
def fine_along_one_axis(f, d, a):
    fine = np.diag([0.1, 1, 1, 1.0])
    return nifti(f / 'a.nii.gz', np.repeat(d, 10, axis=0).astype(np.int16), a @ fine)


@ok()
def half_the_body(f, d, a):
    return nifti(f / 'a.nii.gz', d[:, :, : d.shape[2] // 2].astype(np.int16), a)


@ok('no air')
def small_field_of_view(f, d, a):
    return nifti(f / 'a.nii.gz', d[5:10, 5:10, 5:10].astype(np.int16), a)


@ok()
def spaces_and_unicode(f, d, a):
    return nifti(f / 'Röntgen – 東京 1.nii.gz', d.astype(np.int16), a)


@ok()
def link_to_a_file(f, d, a):
    nifti(f / 'a.nii.gz', d.astype(np.int16), a)
    (f / 'link.nii.gz').symlink_to(f / 'a.nii.gz')
    return f / 'link.nii.gz'


@ok()
def nrrd(f, d, a):
    sitk.WriteImage(itk_image(d.astype(np.int16), a), str(f / 'a.nrrd'), True)
    return f / 'a.nrrd'


@ok()
def metaimage(f, d, a):
    sitk.WriteImage(itk_image(d.astype(np.int16), a), str(f / 'a.mha'), True)
    return f / 'a.mha'


@ok()
def metaimage_in_two_files(f, d, a):
    sitk.WriteImage(itk_image(d.astype(np.float32), a), str(f / 'a.mhd'))
    return f / 'a.mhd'


@ok()
def dicom_folder(f, d, a):
    return dicom(f / 'series', d, a)


@ok()
def dicom_among_other_files(f, d, a):
    folder = dicom(f / 'series', d, a)
    (folder / 'report.txt').write_text('no slice')
    (folder / 'DICOMDIR').write_bytes(b'\0' * 200)
    return folder


@ok()
def dicom_zip(f, d, a):
    return zipped(f / 'a.zip', dicom(f / 'series', d, a))


@ok('gantry tilt', 'ITK refuse it')
def dicom_of_a_tilted_gantry(f, d, a):
    return dicom(f / 'series', d, a, shear=1.0)


@ok('modality is PT')
def dicom_of_a_third_modality(f, d, a):
    return dicom(f / 'series', d, a, modality='PT')


@ok()
def dicom_slices_named_and_numbered_in_another_order(f, d, a):
    folder = dicom(f / 'series', d, a)
    for i, file in enumerate(sorted(folder.iterdir(), reverse=True)):
        file.rename(folder / f'IM{(7 * i) % 1009:04d}')
    return folder


@ok()
def dicom_beside_its_structures(f, d, a):
    folder = dicom(f / 'series', d, a)
    structures(folder / 'RS.dcm', [('spleen', [])])
    return folder


@ok()
def padding_far_below_air(f, d, a):
    changed = d.copy()
    changed[:3] = -3024
    return nifti(f / 'a.nii.gz', changed.astype(np.int16), a)


@ok('not in HU')
def a_picture_of_a_window(f, d, a):
    grey = np.clip((d + 160) / 400, 0, 1) * 255
    return nifti(f / 'a.nii.gz', grey.astype(np.uint8), a)


@ok('not in HU')
def a_mask_instead_of_a_scan(f, d, a):
    return nifti(f / 'a.nii.gz', (d > -300).astype(np.uint8), a)


@ok('not in HU')
def thousandths_of_hu(f, d, a):
    return nifti(f / 'a.nii.gz', (d / 1000).astype(np.float32), a)


@ok()
def metres_by_the_header(f, d, a):
    image = nibabel.Nifti1Image(d.astype(np.int16), np.diag([1e-3, 1e-3, 1e-3, 1]) @ a)
    image.header.set_xyzt_units('meter')
    nibabel.save(image, f / 'a.nii.gz')
    return f / 'a.nii.gz'


@ok()
def a_name_that_begins_with_a_dash(f, d, a):
    return nifti(f / '-rf .nii.gz', d.astype(np.int16), a)


@ok()
def the_name_of_the_table_of_results(f, d, a):
    return nifti(f / 'summary.csv.nii.gz', d.astype(np.int16), a)


@ok()
def nothing_but_a_suffix(f, d, a):
    return nifti(f / '.nii.gz', d.astype(np.int16), a)


@ok()
def a_name_of_two_lines(f, d, a):
    return nifti(f / 'a\nb.nii.gz', d.astype(np.int16), a)


@ok('left out')
def last_dicom_slice_cut_short(f, d, a):
    folder = dicom(f / 'series', d, a)
    last = sorted(folder.iterdir())[-1]
    last.write_bytes(last.read_bytes()[:-1500])
    return folder


# -- what cannot be used


@bad('the DICOM modality is MR, and this is for CT')
def dicom_of_another_modality(f, d, a):
    return dicom(f / 'series', d, a, modality='MR')


@bad('not a kind of image')
def a_surface_instead_of_a_scan(f, d, a):
    (f / 'a.stl').write_text('solid a\nendsolid a\n')
    return f / 'a.stl'


@bad('not 3D')
def a_stack_of_colours_in_the_fourth_axis(f, d, a):
    return nifti(f / 'a.nii.gz', np.stack([d] * 3, -1).astype(np.uint8), a)


@bad('no such file')
def missing(f, d, a):
    return f / 'a.nii.gz'


@bad('cannot be read')
def empty_file(f, d, a):
    (f / 'a.nii.gz').write_bytes(b'')
    return f / 'a.nii.gz'


@bad('cannot be read')
def gzip_cut_short(f, d, a):
    return truncated_gzip(f / 'a.nii.gz', d, a)


@bad('cannot be read')
def gzip_with_a_wrong_checksum(f, d, a):
    whole = bytearray(gzip.compress(nifti_bytes(d.astype(np.int16), a)))
    whole[-8] ^= 0xFF
    (f / 'a.nii.gz').write_bytes(bytes(whole))
    return f / 'a.nii.gz'


@bad('cannot be read')
def wrong_magic(f, d, a):
    whole = bytearray(nifti_bytes(d.astype(np.int16), a))
    whole[344:348] = b'abc\0'
    whole[0:4] = b'\0\0\0\0'
    (f / 'a.nii').write_bytes(bytes(whole))
    return f / 'a.nii'


@bad('cannot be read')
def text_named_nifti(f, d, a):
    (f / 'a.nii').write_text('not an image\n' * 100)
    return f / 'a.nii'


@bad('cannot be read')
def voxels_missing_at_the_end(f, d, a):
    (f / 'a.nii').write_bytes(nifti_bytes(d.astype(np.int16), a)[:-1000])
    return f / 'a.nii'


@bad('NaN')
def not_a_number(f, d, a):
    changed = d.copy()
    changed[3, 3, 3] = np.nan
    return nifti(f / 'a.nii.gz', changed, a)


@bad('infinite')
def infinity(f, d, a):
    changed = d.copy()
    changed[3, 3, 3] = np.inf
    return nifti(f / 'a.nii.gz', changed, a)


@bad('every voxel is 0')
def all_zeros(f, d, a):
    return nifti(f / 'a.nii.gz', np.zeros(d.shape, np.int16), a)


@bad('field of view')
def one_voxel_along_an_axis(f, d, a):
    return nifti(f / 'a.nii.gz', d[:, :, :1].astype(np.int16), a)


@bad('not 3D')
def two_dimensions(f, d, a):
    return nifti(f / 'a.nii.gz', d[:, :, 0].astype(np.int16), a)


@bad('not 3D')
def several_frames(f, d, a):
    return nifti(f / 'a.nii.gz', np.stack([d, d], -1).astype(np.int16), a)


@bad('not 3D')
def five_dimensions(f, d, a):
    return nifti(f / 'a.nii.gz', np.stack([d, d], -1)[..., None, :].astype(np.int16), a)


@bad('singular')
def singular_affine(f, d, a):
    image = nibabel.Nifti1Image(d.astype(np.int16), a)
    flat = a.copy()
    flat[:3, 2] = flat[:3, 1]
    image.set_sform(flat, 1)
    image.set_qform(None, 0)
    nibabel.save(image, f / 'a.nii.gz')
    return f / 'a.nii.gz'


@bad('finite 4x4 affine')
def affine_not_a_number(f, d, a):
    image = nibabel.Nifti1Image(d.astype(np.int16), a)
    image.header['srow_x'] = np.nan
    image.header['sform_code'] = 1
    (f / 'a.nii').write_bytes(image.to_bytes())
    whole = bytearray((f / 'a.nii').read_bytes())
    whole[280:284] = np.float32(np.nan).tobytes()
    (f / 'a.nii').write_bytes(bytes(whole))
    return f / 'a.nii'


@bad('not numbers')
def colour_nifti(f, d, a):
    colour = np.zeros(d.shape, dtype=[('R', 'u1'), ('G', 'u1'), ('B', 'u1')])
    return nifti(f / 'a.nii.gz', colour, a)


@bad('not numbers')
def complex_voxels(f, d, a):
    return nifti(f / 'a.nii.gz', d.astype(np.complex64), a)


@bad('field of view')
def micrometres(f, d, a):
    return nifti(f / 'a.nii.gz', d.astype(np.int16), np.diag([0.008, 0.008, 0.008, 1]))


@bad('GiB')
def header_of_a_huge_volume(f, d, a):
    whole = bytearray(nifti_bytes(d.astype(np.int16), a))
    whole[42:48] = np.array([30000, 30000, 30000], dtype=np.int16).tobytes()
    (f / 'a.nii').write_bytes(bytes(whole))
    return f / 'a.nii'


@bad('not a kind of image')
def unknown_kind(f, d, a):
    (f / 'a.jpg').write_bytes(b'\xff\xd8\xff')
    return f / 'a.jpg'


@bad('no such file')
def broken_link(f, d, a):
    (f / 'a.nii.gz').symlink_to(f / 'gone.nii.gz')
    return f / 'a.nii.gz'


@bad('no DICOM slice')
def empty_folder(f, d, a):
    (f / 'series').mkdir()
    return f / 'series'


@bad('no DICOM slice')
def folder_of_texts(f, d, a):
    (f / 'series').mkdir()
    (f / 'series/a.dcm').write_text('nothing')
    (f / 'series/b.dcm').write_bytes(b'')
    return f / 'series'


@bad('a slice is missing')
def missing_slice(f, d, a):
    folder = dicom(f / 'series', d, a)
    sorted(folder.iterdir())[7].unlink()
    return folder


@bad('duplicate')
def duplicate_slice(f, d, a):
    folder = dicom(f / 'series', d, a)
    first = sorted(folder.iterdir())[7]
    (folder / 'copy.dcm').write_bytes(first.read_bytes())
    return folder


@bad('2 series')
def two_series(f, d, a):
    dicom(f / 'series', d, a)
    return dicom(f / 'series', d, a, series='1.2.3.5')


@bad('one slice')
def single_slice(f, d, a):
    return dicom(f / 'series', d[:, :, :1], a)


@bad('another orientation')
def slices_of_two_orientations(f, d, a):
    dicom(f / 'series', d[:, :, :5], a)
    turned = a.copy()
    turned[:3, :3] = a[:3, [1, 0, 2]]
    turned[2, 3] += 100
    return dicom(f / 'other', d[:, :, :5], turned) and _merge(f)


def _merge(f):
    for file in (f / 'other').iterdir():
        file.rename(f / 'series' / f'o_{file.name}')
    return f / 'series'


@bad('a slice is missing')
def dicom_slice_cut_short(f, d, a):
    folder = dicom(f / 'series', d, a)
    middle = sorted(folder.iterdir())[7]
    middle.write_bytes(middle.read_bytes()[:-1500])
    return folder


@bad('cannot be unpacked')
def not_a_zip(f, d, a):
    (f / 'a.zip').write_bytes(b'PK\3\4 nothing')
    return f / 'a.zip'


@bad('no DICOM slice')
def empty_zip(f, d, a):
    zipfile.ZipFile(f / 'a.zip', 'w').close()
    return f / 'a.zip'


@bad('leaves the archive')
def zip_member_outside(f, d, a):
    with zipfile.ZipFile(f / 'a.zip', 'w') as archive:
        archive.writestr('../../outside.dcm', b'x')
    return f / 'a.zip'


@bad('would unpack to')
def zip_bomb(f, d, a):
    with zipfile.ZipFile(f / 'a.zip', 'w', zipfile.ZIP_DEFLATED) as archive:
        for i in range(4):
            archive.writestr(f'{i}.dcm', b'\0' * (100 * 2**20))
    return f / 'a.zip'


@bad('cannot be read')
def nrrd_cut_short(f, d, a):
    sitk.WriteImage(itk_image(d.astype(np.int16), a), str(f / 'a.nrrd'), False)
    (f / 'a.nrrd').write_bytes((f / 'a.nrrd').read_bytes()[:-5000])
    return f / 'a.nrrd'


@bad('cannot be read')
def metaimage_without_its_data(f, d, a):
    sitk.WriteImage(itk_image(d.astype(np.int16), a), str(f / 'a.mhd'))
    (f / 'a.raw').unlink()
    return f / 'a.mhd'


@bad('colours')
def colour_metaimage(f, d, a):
    one = sitk.Cast(itk_image(d.astype(np.int16), a), sitk.sitkUInt8)
    sitk.WriteImage(sitk.Compose(one, one, one), str(f / 'a.mha'))
    return f / 'a.mha'
