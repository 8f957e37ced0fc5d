"""DICOM series: values and sentences."""

import zipfile

import numpy as np
import pytest

from massm.errors import ImageError
from massm.io.images import read_scan
from tests.robustness.scans import dicom, dicom_with_pydicom, zipped

AFFINE = np.diag([4.0, 4, 4, 1])


@pytest.fixture
def hu(rng):
    return rng.integers(-1024, 1500, (8, 9, 6)).astype(np.int16)


def plane(hu, intercept, slope=1.0, dtype=np.uint16):
    stored = np.clip(np.round((hu - intercept) / slope), np.iinfo(dtype).min, None).astype(dtype)
    return {'pixels': stored, 'RescaleIntercept': str(intercept), 'RescaleSlope': str(slope)}


def test_every_slice_has_a_rescale_and_a_type_of_its_own(hu, tmp_path):
    planes = [
        plane(hu[..., 0], 0),  # stored without its negative numbers
        plane(hu[..., 1], -1024),
        plane(hu[..., 2], 0, dtype=np.int16),
        plane(hu[..., 3], -1024.5, 0.5),
        plane(hu[..., 4], -2000),
        plane(hu[..., 5], -1024),
    ]
    for order in (planes, planes[::-1]):
        expected = hu.astype(float)
        expected[..., 0] = expected[..., 0].clip(0)
        expected = expected if order is planes else expected[..., ::-1]
        folder = dicom_with_pydicom(tmp_path / str(order is planes), order, AFFINE)
        assert np.allclose(read_scan(folder).volume, expected, atol=0.26)


MOVED = {
    'one slice aside': lambda k: (30.0 * (k == 4), 0, 0),
    'the table moves halfway': lambda k: (40.0 * (k >= 12), 0, 0),
    'the spacing changes': lambda k: (0, 0, 0.35 * max(0, k - 12)),
    'the last aside': lambda k: (0, 3.0 * (k == 23), 0),
}


def moved_slices(folder, hu, moved):
    places = [np.add(moved(k), (0, 0, 4.0 * k)) for k in range(24)]
    planes = [
        {**plane(hu[..., k % 6], -1024), 'ImagePositionPatient': place.tolist()}
        for k, place in enumerate(places)
    ]
    return dicom_with_pydicom(folder, planes, AFFINE)


@pytest.mark.parametrize('name', MOVED)
def test_slices_that_no_grid_holds_are_refused(hu, tmp_path, name):
    with pytest.raises(ImageError, match=r'scan: s0\d\d\.dcm lies [\d.]+ mm off its place'):
        read_scan(moved_slices(tmp_path / 'scan', hu, MOVED[name]))


def test_a_tilt_and_rounded_positions_are_no_fault(hu, tmp_path):
    def tilted(k):
        return (0, round(0.37 * k, 1), round(0.033 * k, 1))

    scan = read_scan(moved_slices(tmp_path / 'scan', hu, tilted))
    places = [np.add(np.multiply(tilted(k), (-1, -1, 1)), (0, 0, 4.0 * k)) for k in range(24)]
    index = np.array([(0, 0, k) for k in range(24)])
    assert np.abs(scan.grid.to_patient(index) - places).max() < 0.15


def test_a_scan_tells_its_series(hu, tmp_path):
    folder = dicom(tmp_path / 'scan', hu, AFFINE, series='1.2.71')
    dicom(tmp_path / 'scan/other', hu, AFFINE, series='1.2.72')
    assert [read_scan(folder, end).series for end in ('71', '2.72')] == ['1.2.71', '1.2.72']
    with zipfile.ZipFile(tmp_path / 'a.zip', 'w') as archive:
        for file in (folder / 'other').iterdir():
            archive.write(file, file.name)
    assert read_scan(tmp_path / 'a.zip').series == '1.2.72'


def test_a_series_is_named_by_text_and_no_frame(hu, tmp_path):
    folder = dicom(tmp_path / 'scan', hu, AFFINE)
    archive = zipped(tmp_path / 'a.zip', folder)
    for path in (folder, archive):
        with pytest.raises(ImageError, match=f'{path.name}: 0 is the number of a frame'):
            read_scan(path, 0)


def test_colours_are_refused(hu, tmp_path):
    colour = {'SamplesPerPixel': 3, 'PhotometricInterpretation': 'RGB', 'PlanarConfiguration': 0}
    planes = [{'pixels': np.zeros((8, 9, 3), np.uint8), **colour} for _ in range(6)]
    folder = dicom_with_pydicom(tmp_path / 'scan', planes, AFFINE)
    with pytest.raises(ImageError, match=r'scan: s000\.dcm holds colours'):
        read_scan(folder)


def test_many_frames_in_one_file_are_named(hu, tmp_path):
    folder = dicom_with_pydicom(tmp_path / 'scan', [plane(hu[..., 0], -1024)], AFFINE)
    import pydicom

    file = folder / 's000.dcm'
    content = pydicom.dcmread(file)
    del content.ImagePositionPatient, content.ImageOrientationPatient
    content.file_meta.MediaStorageSOPClassUID = content.SOPClassUID = (
        '1.2.840.10008.5.1.4.1.1.2.1'  # enhanced CT
    )
    content.NumberOfFrames, content.PixelData = 6, content.PixelData * 6
    content.save_as(file)
    with pytest.raises(ImageError, match=r'of 6 frames.*dcm2niix'):
        read_scan(folder)


def test_a_zip_with_backslashes_is_unpacked(hu, tmp_path):
    folder = dicom(tmp_path / 'scan', hu, AFFINE)
    with zipfile.ZipFile(tmp_path / 'a.zip', 'w') as archive:
        for file in folder.iterdir():
            info = zipfile.ZipInfo('x')
            info.filename = f'scan\\{file.name}'
            archive.writestr(info, file.read_bytes())
    assert np.array_equal(read_scan(tmp_path / 'a.zip').volume, hu)
    with zipfile.ZipFile(tmp_path / 'b.zip', 'w') as archive:
        info = zipfile.ZipInfo('x')
        info.filename = '..\\..\\evil.dcm'
        archive.writestr(info, b'')
    with pytest.raises(ImageError, match='leaves the archive'):
        read_scan(tmp_path / 'b.zip')
