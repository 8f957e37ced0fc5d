"""Contours of a DICOM RTSTRUCT beside its series."""

from dataclasses import replace

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from skimage.measure import find_contours

from massm.cli import run_command
from massm.cohort.manifest import load_manifest
from massm.cohort.sources.find import find_source
from massm.cohort.sources.request import Request
from massm.cohort.sources.structure_set import StructureSet
from massm.io.dicom import series_modality
from massm.io.nifti import read_mask
from massm.io.rtstruct import STRUCTURE_SET, XOR, read_structures, structure_mask
from massm.structures import Grid
from tests.mr_cohort import AFFINE, VALUES, save, subject
from tests.robustness.scans import LPS, dicom

# Slices last, as DICOM has them, and no axis along the patient's.
TURNED = AFFINE.copy()
TURNED[:3, :2] = TURNED[:3, :2] @ np.array([[0.8, -0.6], [0.6, 0.8]])


def contours(mask, affine):
    """Outlines of a mask slice by slice, ``[N, 3]`` LPS mm each; holes too."""
    for k in range(mask.shape[2]):
        for line in find_contours(np.pad(mask[..., k], 1).astype(float), 0.5):
            points = np.column_stack([line - 1, np.full(len(line), k)])
            yield points @ (LPS @ affine)[:3, :3].T + (LPS @ affine)[:3, 3]


def structures(path, drawn, kind='CLOSED_PLANAR', series='1.2.3.4'):
    """An RTSTRUCT of ``drawn``: name to contours."""
    data = pydicom.Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = STRUCTURE_SET
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = '1.2.3.9'
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.Modality = 'RTSTRUCT'
    data.StructureSetROISequence, data.ROIContourSequence = [], []
    for number, (name, lines) in enumerate(drawn, 1):
        roi, contour = pydicom.Dataset(), pydicom.Dataset()
        roi.ROINumber, roi.ROIName, contour.ReferencedROINumber = number, name, number
        contour.ContourSequence = []
        for line in lines:
            one = pydicom.Dataset()
            one.ContourGeometricType, one.NumberOfContourPoints = kind, len(line)
            one.ContourData = [f'{v:.4f}' for v in np.ravel(line)]
            contour.ContourSequence.append(one)
        data.StructureSetROISequence.append(roi)
        data.ROIContourSequence.append(contour)
    frame, study, own = (pydicom.Dataset() for _ in range(3))
    own.SeriesInstanceUID = series
    study.RTReferencedSeriesSequence, frame.RTReferencedStudySequence = [own], [study]
    data.ReferencedFrameOfReferenceSequence = [frame]
    data.save_as(path, enforce_file_format=True)


def drawn(labels, affine=TURNED):
    return [(name, list(contours(labels == value, affine))) for name, value in VALUES.items()]


def image(i=0):
    return np.round(subject(i)[1] / subject(i)[1].max() * 900).astype(np.int16)


@pytest.fixture
def source(tmp_path):
    dicom(tmp_path / 'src/p0', image(), TURNED, modality='MR')
    return tmp_path / 'src'


def prepare(source, out, *more):
    command = [str(source), str(out), '--anatomies', *VALUES, '--spacing', '2', '--jobs', '1']
    return run_command('prepare_dataset', [*command, *more])


def statuses(out):
    entries = load_manifest(out).subjects[0].anatomies
    return {name: entry.status.value for name, entry in entries.items()}


def test_contours_give_the_masks_they_were_drawn_around(source, tmp_path, capsys):
    """Holes too; another series, a dose and a plan may lie beside."""
    labels, _ = subject(0)
    middle = np.argwhere(labels == 1).mean(0).astype(int)
    labels[tuple(slice(m - 1, m + 2) for m in middle)] = 0
    structures(source / 'p0/RS.dcm', drawn(labels))
    dicom(source / 'p0/scout', image()[:, :, :3], TURNED, series='1.2.3.5', modality='MR')
    assert prepare(source, tmp_path / 'out') == 0
    said = capsys.readouterr().out
    assert 'MR in the layout rtstruct' in said and 'left out' not in said
    save(tmp_path / 'masks/p0/mri.nii.gz', image(), TURNED)
    for name, value in VALUES.items():
        mask = (labels == value).astype(np.uint8)
        save(tmp_path / f'masks/p0/segmentations/{name}.nii.gz', mask, TURNED)
    assert prepare(tmp_path / 'masks', tmp_path / 'same') == 0
    assert statuses(tmp_path / 'out') == dict.fromkeys(VALUES, 'ok') == statuses(tmp_path / 'same')
    for name in VALUES:
        one, other = (
            read_mask(tmp_path / f'{o}/masks/{name}/p0.nii.gz')[0] for o in ('out', 'same')
        )
        assert one.any() and (one != other).mean() < 1e-4


def test_what_is_not_drawn_was_not_looked_at(source, tmp_path, capsys):
    """A name without contours, and contours far off the image."""
    far = [line + np.array((500, 0, 0)) for line in drawn(subject(0)[0])[1][1]]
    structures(source / 'p0/RS.dcm', [('bean', []), ('pea', far)])
    assert prepare(source, tmp_path / 'out', '--missing', 'unlabelled') == 0
    assert statuses(tmp_path / 'out') == dict.fromkeys(VALUES, 'unlabelled')
    assert 'no voxel lies inside its contours' in ' '.join(capsys.readouterr().out.split())


def test_without_an_rtstruct_nobody_looked(tmp_path):
    """Whatever a missing contour says in an image that has one."""
    grid = Grid((4, 4, 4), np.eye(4))
    assert [mask.partly for mask in StructureSet(()).read(['bean'], grid)] == [True]
    structures(tmp_path / 'RS.dcm', [])
    found = StructureSet((tmp_path / 'RS.dcm',)).read(['bean'], grid)
    assert [mask.partly for mask in found] == [False]


def between_slices(folder, shapes):
    structures(folder / 'RS.dcm', [(n, [p + np.array((0, 0, 1.0)) for p in c]) for n, c in shapes])


def two_files(folder, shapes):
    structures(folder / 'RS.dcm', shapes)
    structures(folder / 'RS2.dcm', shapes)


def one_name_twice(folder, shapes):
    structures(folder / 'RS.dcm', [*shapes, shapes[0]])


def another_series(folder, shapes):
    structures(folder / 'RS.dcm', shapes, series='1.2.3.7')


@pytest.mark.parametrize(
    ('write', 'words'),
    [
        (between_slices, 'between the slices'),
        (two_files, 'holds 2 RTSTRUCT files'),
        (one_name_twice, '(bean): is there twice'),
        (another_series, 'holds no series 1.2.3.7, which --series or its RTSTRUCT names'),
    ],
)
def test_contours_that_cannot_be_used_leave_their_subject_out(
    source, tmp_path, capsys, write, words
):
    shapes = drawn(subject(0)[0])
    structures(dicom(source / 'p1', image(1), TURNED, modality='MR') / 'RS.dcm', shapes)
    write(source / 'p0', shapes)
    assert prepare(source, tmp_path / 'out') == 1
    said = ' '.join(capsys.readouterr().out.split())
    assert 'left out: p0:' in said and words in said


def test_the_header_tells_the_modality(source, tmp_path, capsys):
    structures(source / 'p0/RS.dcm', drawn(subject(0)[0]))
    assert prepare(source, tmp_path / 'out', '--modality', 'ct') == 1
    assert 'is MR as the source tells' in capsys.readouterr().err


def rectangle(x, y, z=3):
    """A contour between voxels (LPS mm of a grid of 1 mm at the origin)."""
    return np.array(
        [(-a, -b, z) for a, b in ((x[0], y[0]), (x[1], y[0]), (x[1], y[1]), (x[0], y[1]))]
    )


A, B = rectangle((2, 8), (2, 8)), rectangle((8, 12), (2, 8))
OVERLAPPING = rectangle((6.5, 12.5), (4.5, 6.5))
BIG, HOLE, ISLAND = (rectangle((d, 17 - d), (d, 17 - d)) for d in (0.5, 3.5, 6.5))
TOUCHING_HOLE = rectangle((0.5, 4.5), (3.5, 6.5))


@pytest.mark.parametrize(
    ('lines', 'expected'),
    [
        ([A, B], 11 * 7),  # they share the row of voxels at 8
        ([A, A, A[::-1]], 7 * 7),
        ([A, OVERLAPPING], 7 * 7 + 4 * 2),
        ([ISLAND, BIG, HOLE], 16 * 16 - 10 * 10 + 4 * 4),
        ([BIG, TOUCHING_HOLE], 16 * 16 - 4 * 3),
        ([BIG, BIG, HOLE, HOLE], 16 * 16 - 10 * 10),
    ],
)
def test_contours_of_a_slice_are_joined_and_those_inside_are_holes(tmp_path, lines, expected):
    structures(tmp_path / 'RS.dcm', [('a', lines)])
    drawn = read_structures(tmp_path / 'RS.dcm').contours['a']
    mask = structure_mask(drawn, Grid((18, 18, 6), np.eye(4)), 'a')
    assert mask[..., 3].sum() == mask.sum() == expected


def test_contours_are_joined_by_exclusive_or_where_the_file_says_so(tmp_path):
    structures(tmp_path / 'RS.dcm', [('a', [A, OVERLAPPING])], kind=XOR)
    drawn = read_structures(tmp_path / 'RS.dcm').contours['a']
    grid = Grid((18, 18, 6), np.eye(4))
    assert structure_mask(drawn, grid, 'a').sum() == 7 * 7 - 2 * 2 + 4 * 2
    assert structure_mask(replace(drawn, xor=False), grid, 'a').sum() == 7 * 7 + 4 * 2


def test_names_that_are_there_twice_matter_where_they_are_asked_for_and_drawn(source, tmp_path):
    shapes = drawn(subject(0)[0])
    marker = ('POI', [rectangle((0, 1), (0, 1))])
    structures(source / 'p0/RS.dcm', [*shapes, ('bean', []), marker, marker])
    assert prepare(source, tmp_path / 'out') == 0
    assert statuses(tmp_path / 'out') == dict.fromkeys(VALUES, 'ok')


def test_the_modality_is_that_of_the_series_that_was_drawn_on(tmp_path):
    """Fusion planning: a CT, an MR of it, and a dose that sorts first."""
    folder = tmp_path / 'src/p0'
    for series, modality in (('1.2.1', 'RTDOSE'), ('1.2.2', 'CT'), ('1.2.3', 'MR')):
        dicom(folder / series, image()[:, :, :3], TURNED, series=series, modality=modality)
    assert series_modality(folder) == 'CT'
    assert [series_modality(folder, uid) for uid in ('1.2.2', '1.2.3', '9')] == ['CT', 'MR', 'CT']
    for series, told in (('1.2.2', 'ct'), ('1.2.3', 'mr')):
        structures(folder / 'RS.dcm', [('bean', [A])], series=series)
        found = find_source(tmp_path / 'src', Request())
        assert found.modality == told and found.subjects[0].series == series
