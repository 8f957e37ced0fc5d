"""What a folder given to ``massm infer`` stands for: nothing in it is left out without a word."""

import numpy as np
import pytest

from massm.errors import ImageError
from massm.io.images import read_scan
from massm.io.scan_folders import scans_in
from tests.robustness.scans import dicom

AFFINE = np.diag([4.0, 4, 4, 1])


@pytest.fixture
def hu(rng):
    return rng.integers(-1024, 1500, (8, 9, 6)).astype(np.int16)


def touched(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def refused(folder):
    with pytest.raises(ImageError) as error:
        scans_in(folder)
    assert str(error.value).startswith(f'{folder}: ')
    return str(error.value)


def test_images_alone_are_the_scans_and_slices_alone_are_one(hu, tmp_path):
    images = touched(tmp_path / 'images', 'b.nrrd', 'a.nii.gz', '._a.nii.gz', 'a.csv', 'sub/c.nii')
    (images / 'RS.dcm').write_bytes(b'\0' * 128 + b'DICM of no slice')
    assert scans_in(images) == [images / 'a.nii.gz', images / 'b.nrrd']
    series = dicom(tmp_path / 'series', hu, AFFINE)
    touched(series, 'massm/labels.nii.gz')
    assert scans_in(series) == [series]
    disc = touched(tmp_path / 'disc', 'DICOMDIR', 'viewer/program.zip')
    dicom(disc / 'DICOM/PA0/SE0', hu, AFFINE)
    assert scans_in(disc) == [disc]


def test_images_beside_slices_are_refused(hu, tmp_path):
    dicom(touched(tmp_path / 'a', 'a.nii.gz') / 'p1', hu, AFFINE)
    told = refused(tmp_path / 'a')
    assert 'holds a.nii.gz and also DICOM slices, such as p1' in told and 'name each' in told
    series = touched(dicom(tmp_path / 'b', hu, AFFINE), 'old_mask.nii.gz')
    assert 'holds old_mask.nii.gz and also DICOM slices' in refused(series)
    dicom(touched(tmp_path / 'c', 'p2/ct.nii.gz') / 'p1', hu, AFFINE)
    assert 'p2/ct.nii.gz is further down' in refused(tmp_path / 'c')


def test_images_of_sub_folders_are_not_searched_for_slices(tmp_path):
    told = refused(touched(tmp_path / 'a', 'p1/ct.nii.gz', 'p2/ct.nii.gz'))
    assert 'name the folders that hold scans (p1, p2)' in told


def test_series_of_several_patients_are_told_with_their_folders(hu, tmp_path):
    for name in ('p1', 'p2'):
        dicom(tmp_path / 'a' / name, hu, AFFINE, series=f'1.2.{name[1]}', patient=name)
    assert scans_in(tmp_path / 'a') == [tmp_path / 'a']
    with pytest.raises(ImageError, match='2 series of 2 patients, give their folders') as error:
        read_scan(tmp_path / 'a')
    assert '1.2.1 (6 slices, in p1); 1.2.2 (6 slices, in p2)' in str(error.value)
    for name in ('1.2.8', '1.2.9'):
        dicom(tmp_path / 'b', hu, AFFINE, series=name)
    with pytest.raises(ImageError, match='2 series, keep one there or name') as error:
        read_scan(tmp_path / 'b')
    assert '1.2.8 (6 slices); 1.2.9 (6 slices)' in str(error.value)
