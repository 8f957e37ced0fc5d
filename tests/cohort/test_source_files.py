"""Which files of a source are taken for what: kinds of files, links, names that do not match."""

import json

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from massm.cohort.sources.find import check_anatomies, find_source
from massm.cohort.sources.label_map import LabelMap
from massm.cohort.sources.mask_files import MaskFiles
from massm.cohort.sources.request import Request
from massm.cohort.sources.subject import subject_files
from massm.errors import DatasetError, ImageError
from massm.io.images import read_scan
from massm.structures import Grid
from tests.mr_cohort import AFFINE, SHAPE, VALUES, describe, ellipsoid, save, write_cohort
from tests.robustness.scans import itk_image, reordered

GRID = Grid(SHAPE, AFFINE)
ORGAN = ellipsoid((15, 20, 18), (5, 7, 6)).astype(np.uint8)
TABLE = (('bean', (1,)), ('pea', (2,)))


def write(path, data, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.lower().endswith(('.nii', '.nii.gz')):
        save(path.with_name(path.name.lower()), data, affine)
        path.with_name(path.name.lower()).rename(path)
    else:
        sitk.WriteImage(itk_image(data, affine), str(path))


def found(root, **asked):
    asked = {'anatomies': tuple(VALUES), **asked}
    return {s.id: s for s in find_source(root, Request(**asked)).subjects}


@pytest.mark.parametrize('name', ['bean.nii', 'bean.NII.GZ', 'bean.nrrd', 'bean.mha'])
def test_a_mask_in_any_kind_of_file_is_seen(tmp_path, name):
    write(tmp_path / name, ORGAN)
    masks = MaskFiles(tmp_path)
    assert masks.names() == {'bean'}
    assert masks.files(['bean', 'pea']) == [tmp_path / name, tmp_path / 'pea.nii.gz']
    seen, missing = masks.read(['bean', 'pea'], GRID)
    assert np.array_equal(seen.mask, ORGAN > 0) and missing.mask is None


def test_a_link_that_leads_nowhere_is_not_what_nobody_looked_at(tmp_path):
    for name in ('masks/bean.nii.gz', 'labels.nii.gz', 'folder'):
        (tmp_path / 'masks').mkdir(exist_ok=True)
        (tmp_path / name).symlink_to('.git/annex/objects/away')
    assert MaskFiles(tmp_path / 'masks').names() == {'bean'}
    for masks in (
        MaskFiles(tmp_path / 'masks'),
        MaskFiles(tmp_path / 'folder'),
        LabelMap(tmp_path / 'labels.nii.gz', TABLE),
    ):
        with pytest.raises(ImageError, match='leads nowhere; fetch'):
            list(masks.read(['bean'], GRID))


def test_a_source_without_any_mask_says_so(tmp_path):
    source = write_cohort(tmp_path, 'totalseg', 1)
    for path in (source / 'p0/segmentations').iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match='a mask of bean; there are none at all'):
        check_anatomies(find_source(source, Request()), ('bean',))


@pytest.mark.parametrize('order', ['LPS', 'PIR', 'SAL'])
def test_a_mask_in_another_order_of_axes_is_the_same_mask(tmp_path, order):
    turn = np.array([[0.8, -0.6, 0, 0], [0.6, 0.8, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    for affine in (AFFINE, turn @ AFFINE):
        grid = Grid(SHAPE, affine)
        write(tmp_path / 'bean.nii.gz', *reordered(ORGAN, affine, order))
        (seen,) = MaskFiles(tmp_path).read(['bean'], grid)
        assert np.array_equal(seen.mask, ORGAN > 0)
        write(tmp_path / 'labels.nii.gz', *reordered(ORGAN, affine, order))
        seen, _ = LabelMap(tmp_path / 'labels.nii.gz', TABLE).read(['bean', 'pea'], grid)
        assert np.array_equal(seen.mask, ORGAN > 0)


def test_a_mask_that_does_not_say_how_it_lies_is_not_turned(tmp_path):
    """What a reader guesses for it is the mirror image of what it may be."""
    image = nibabel.Nifti1Image(ORGAN, None)
    image.header.set_zooms((2, 2, 2))
    nibabel.save(image, tmp_path / 'bean.nii.gz')
    guess = nibabel.load(tmp_path / 'bean.nii.gz').affine
    mirrored = Grid(SHAPE, np.diag([-1.0, 1, 1, 1]) @ guess)
    with pytest.raises(ImageError, match='resample the mask'):
        list(MaskFiles(tmp_path).read(['bean'], mirrored))
    write(tmp_path / 'bean.nii.gz', ORGAN, guess)
    (seen,) = MaskFiles(tmp_path).read(['bean'], mirrored)
    assert np.array_equal(seen.mask, ORGAN[::-1] > 0)


def test_labels_are_not_rounded(tmp_path):
    """As the Allen atlas numbers its structures: the two would be one number of 24 bits."""
    values = (614454276, 614454277)
    labels = np.where(ORGAN, values[0], 0).astype(np.uint32)
    labels[30:34, 10:14, 10:14] = values[1]
    for name in ('labels.nii.gz', 'labels.nrrd'):
        write(tmp_path / name, labels)
        table = tuple((str(v), (v,)) for v in values)
        for mask in LabelMap(tmp_path / name, table).read([n for n, _ in table], GRID):
            assert np.array_equal(mask.mask, labels == int(mask.anatomy)) and not mask.remarks


@pytest.mark.parametrize(
    ('image', 'label'),
    [('p_0000.nii.gz', 'p.nii.gz'), ('p.nii', 'p_seg.nii.gz'), ('p.nii.gz', 'p.seg.nrrd')],
)
def test_an_image_and_its_label_map_may_differ_in_the_usual_endings(tmp_path, image, label):
    write(tmp_path / 'images' / image, ORGAN)
    write(tmp_path / 'labels' / label, ORGAN)
    (tmp_path / 'labels.json').write_text(json.dumps(VALUES))
    (subject,) = found(tmp_path, modality='ct').values()
    assert subject.id == 'p' and subject.image.name == image
    assert subject.masks.path.name == label


def also(folder, name):
    return lambda root: write(root / folder / name, ORGAN)


# Layout, a file that comes to it, what is said.
TWO = [
    ('flat', also('labels', 'p0.nrrd'), 'p0.nii.gz and p0.nrrd are both label maps of p0; remove'),
    ('flat', also('images', 'p0_0001.nii.gz'), 'p0_0001.nii.gz are both images of p0; remove one'),
    ('multilabel', also('p0', 'segmentation.nii.gz'), 'are both label maps; remove one'),
    ('multilabel', also('p0', 'mri.nii.gz'), 'are both images of one subject; remove one'),
    ('multilabel', also('p0', 'ct.nii.gz'), 'name one with --modality'),
    ('totalseg', also('p0', 'mri.nii'), 'mri.nii and mri.nii.gz are both images'),
    ('nnunet', also('labelsTr', 'p0.nii'), 'p0.nii and p0.nii.gz are both p0; remove one'),
    ('nnunet', also('imagesTr', 'p0_0000.mha'), 'p0_0000.nii.gz are both p0_0000; remove one'),
]


@pytest.mark.parametrize('name', ['p9', 'p0_seg'])
def test_a_label_map_without_an_image_is_a_subject_that_cannot_be_read(tmp_path, name):
    source = write_cohort(tmp_path, 'flat', 2)
    also('labels', f'{name}.nii.gz')(source)
    subjects = found(source, modality='mr')
    assert set(subjects) == {'p0', 'p1', name}
    assert subjects[name].image == source / f'images/{name}.nii.gz'
    assert subjects['p0'].masks.path.name == 'p0.nii.gz'


@pytest.mark.parametrize(('layout', 'spoil', 'words'), TWO)
def test_of_two_files_for_one_thing_none_is_picked(tmp_path, layout, spoil, words):
    source = write_cohort(tmp_path, layout, 1)
    assert found(source, modality='mr')
    spoil(source)
    with pytest.raises(DatasetError, match=words):
        found(source, **({'modality': 'mr'} if layout == 'flat' else {}))


def test_two_masks_of_one_anatomy_cost_their_subject(tmp_path):
    for name in ('bean.nii.gz', 'bean.nii'):
        write(tmp_path / name, ORGAN)
    assert len(MaskFiles(tmp_path).files(['bean'])) == 2
    with pytest.raises(DatasetError, match=r'bean\.nii and bean\.nii\.gz are both bean'):
        list(MaskFiles(tmp_path).read(['bean'], GRID))


def test_no_case_of_nnunet_vanishes(tmp_path):
    source = write_cohort(tmp_path, 'nnunet', 3)
    describe(source, channel_names={'0': 'T1', '1': 'T2'}, labels={'background': 0, **VALUES})
    (source / 'imagesTr/p1_0000.nii.gz').unlink()
    (source / 'labelsTr/p2.nii.gz').unlink()
    write(source / 'imagesTr/p0_0001.nii.gz', ORGAN)
    cases = found(source, channel='0')
    assert list(cases) == ['p0', 'p1', 'p2']
    assert cases['p1'].image == source / 'imagesTr/p1_0000.nii.gz'
    assert all(mask.mask is None for mask in cases['p2'].masks.read(['bean'], GRID))
    cases = found(source, channel='1')
    assert {c.image.name for c in cases.values()} == {'p0_0001.nii.gz', 'p1_0001.nii.gz'}
    (source / 'imagesTr/p0_0001.nii.gz').unlink()
    with pytest.raises(DatasetError, match=r'wants CASE_0001\.nii\.gz there'):
        found(source, channel='1')


def test_the_decathlons_channels_are_frames(tmp_path):
    source = write_cohort(tmp_path, 'decathlon', 2)
    frames = np.stack([ORGAN, 3 * ORGAN + 1], -1).astype(np.int16)
    write(source / 'imagesTr/p0.nii.gz', frames)
    (source / 'imagesTr/p1.nii.gz').unlink()
    table = {'0': 'background', **{str(v): n for n, v in VALUES.items()}}
    describe(source, modality={'0': 'T2', '1': 'ADC'}, labels=table)
    for channel, frame in (('T2', 0), ('1', 1)):
        cases = found(source, channel=channel)
        assert cases['p1'].image == source / 'imagesTr/p1.nii.gz'
        scan = read_scan(cases['p0'].image, cases['p0'].series, 'mr')
        assert np.array_equal(scan.volume, frames[..., frame])


@pytest.mark.parametrize('name', ['mri.mhd', 'mri.nhdr'])
def test_voxels_beside_their_header_are_files_of_the_subject(tmp_path, name):
    write(tmp_path / 'p0' / name, ORGAN)
    write(tmp_path / 'p0/segmentations/bean.nii.gz', ORGAN)
    (subject,) = found(tmp_path).values()
    files = {p.name for p in subject_files(subject, ['bean'])}
    assert files == {name, 'mri.raw', 'bean.nii.gz'}
