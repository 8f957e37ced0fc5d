"""An MR is prepared to values that mean the same, in whatever numbers and grid it is stored."""

import nibabel
import numpy as np
import pytest

from massm.cli import run_command
from massm.cohort.field_of_view import ends_with_scan, imaged_extent
from massm.cohort.intensities import mr_scale
from massm.cohort.manifest import load_manifest
from massm.cohort.working_volume import stored, working_volume
from massm.structures import Grid
from tests.mr_cohort import AFFINE, SHAPE, ellipsoid, save, subject
from tests.robustness.scans import reordered


def working(image, affine=AFFINE, spacing=2.0):
    return working_volume(image, Grid(image.shape, affine), spacing, 'mr')


@pytest.fixture(scope='module')
def image():
    return subject(1)[1]


def padded(image, before=(7, 3, 12), after=(20, 9, 1)):
    """More background: as noisy as there was, then zeros."""
    affine = AFFINE.copy()
    affine[:3, 3] -= AFFINE[:3, :3] @ np.array(before)
    noise = np.random.default_rng(1).normal(0, 20, (2, *(np.array(SHAPE) + before + after)))
    more = np.hypot(*noise)
    more[:3] = 0
    more[tuple(slice(b, b + n) for b, n in zip(before, SHAPE, strict=True))] = image
    return more, affine


STORED = {
    'fractions': lambda image: (image / image.max(), AFFINE),
    'integers': lambda image: (np.round(4 * image).astype(np.uint16), AFFINE),
    'huge': lambda image: (1e7 * image, AFFINE),
    'more background': padded,
    'another axis order': lambda image: reordered(image, AFFINE, 'PIL'),
    'one spike': lambda image: (np.where(image == image[0, 0, 9], 1e6, image), AFFINE),
}


@pytest.mark.parametrize('how', STORED)
def test_it_is_the_same_however_the_image_is_stored(image, how):
    expected, grid = working(image)
    found, same = working(*STORED[how](image))
    low = np.round(np.linalg.inv(same.affine) @ grid.affine[:, 3]).astype(int)[:3]
    high = np.minimum(low + np.array(grid.shape), same.shape)
    both = tuple(slice(max(a, 0), b) for a, b in zip(low, high, strict=True))
    part = tuple(slice(max(-a, 0), b - a) for a, b in zip(low, high, strict=True))
    assert np.abs(low).max() <= 8 and found[both].size > 0.7 * expected.size
    difference = np.abs(stored(found[both], 'mr').astype(int) - stored(expected[part], 'mr'))
    most = np.percentile(difference, 99)
    print(f'{how}: {difference.mean():.2f} of 1000 on average, 99 % below {most:.0f}')
    assert difference.mean() < 10


def test_bright_tissue_is_1000_and_no_signal_0(image):
    values, _ = working(image)
    labels, _ = subject(1)
    assert 850 < np.median(values[ball_of(values, labels)]) < 1150
    assert np.percentile(values, 5) < 60 and values.min() > -1


def ball_of(values, labels):
    """The bean on the working grid, which begins where the image's signal does."""
    from massm.cohort.resample import resample_mask

    grid = Grid(SHAPE, AFFINE)
    _, own = working(subject(1)[1])
    return resample_mask(labels == 1, grid, own)


@pytest.mark.parametrize('scale', [1e-3, 1.0, 4000.0])
def test_what_is_stored_keeps_the_image_below_its_noise(image, scale):
    """Rounding to whole thousandths: 0.29 of them, where the noise is 20."""
    values, _ = working(scale * image)
    lost = stored(values, 'mr') - values
    assert np.sqrt((lost**2).mean()) < 0.3
    assert len(np.unique(stored(values, 'mr'))) > 500


def test_shifted_values_keep_their_contrast(image):
    """Standardised before, so that air is below zero."""
    standardised = (image - image.mean()) / image.std()
    found, expected = working(standardised)[0], working(image)[0]
    assert np.corrcoef(found.flat, expected.flat)[0, 1] > 0.999
    assert mr_scale(standardised).low < -0.5


def test_few_values_of_signal_are_no_division_by_zero():
    one = np.zeros(SHAPE, np.float32)
    one[20, 20, 20] = 5
    values, _ = working(one)
    assert np.isfinite(values).all() and values.max() > 0


def prepared(tmp_path, **subjects):
    for name, (image, mask) in subjects.items():
        save(tmp_path / f'src/{name}/mri.nii.gz', image)
        save(tmp_path / f'src/{name}/segmentations/organ.nii.gz', mask.astype(np.uint8))
    command = [str(tmp_path / 'src'), str(tmp_path / 'out'), '--anatomies', 'organ']
    code = run_command('prepare_dataset', [*command, '--spacing', '2', '--jobs', '1'])
    found = load_manifest(tmp_path / 'out').subjects
    return code, {s.id: s.anatomies['organ'].status.value for s in found}


def test_where_an_mr_ends(tmp_path, image):
    """Dark bone beside an organ and a brain without its skull are no end of the scan; slices padded
    onto it are, and its edge."""
    organ = ellipsoid((21, 19, 17), (8, 7, 6))
    dark = np.where(ellipsoid((31, 19, 17), (3, 9, 9)), 0.0, image)
    dark[30:, 15:23, 15:20] = 0
    stripped = np.where(organ, 900 + image, 0.0)
    cut = image.copy()
    cut[:, :, 20:] = 0
    code, found = prepared(
        tmp_path,
        dark=(dark, organ),
        stripped=(stripped, organ),
        padded=(cut, organ & (np.arange(36) < 20)),
        edge=(image, ellipsoid((21, 19, 1), (8, 7, 6))),
    )
    assert code == 0
    assert found == {
        'dark': 'ok', 'stripped': 'ok', 'padded': 'truncated', 'edge': 'truncated'
    }  # fmt: skip


def test_planes_of_one_value_at_the_ends_were_not_imaged():
    volume = np.random.default_rng(0).random((9, 8, 7))
    volume[:2], volume[:, :, -1] = 0, 0
    low, high = imaged_extent(volume)
    assert low.tolist() == [2, 0, 0] and high.tolist() == [8, 7, 5]
    tip, slab = np.zeros((2, 9, 8, 7), bool)
    tip[3:8, 2:7, 2:5], tip[2, 4, 4] = True, True
    slab[2:6, 2:7, 2:5] = True
    assert not ends_with_scan(tip, low, high) and ends_with_scan(slab, low, high)


def test_a_ct_in_an_mr_cohort_is_left_out(tmp_path, image, capsys):
    labels, _ = subject(0)
    body = ellipsoid((21, 19, 17), (18, 15, 14))
    ct = np.where(body, 40, -1000) + np.random.default_rng(0).normal(0, 10, SHAPE)
    organ = labels == 1
    code, found = prepared(tmp_path, mr=(image, organ), ct=(ct.astype(np.float32), organ))
    said = ' '.join(capsys.readouterr().out.split())
    assert code == 1 and found.keys() == {'mr'}
    assert 'left out: ct:' in said and 'is a CT by its values' in said


def test_a_prepared_mr_says_so_and_an_older_dataset_is_ct(tmp_path, image):
    prepared(tmp_path, a=(image, ellipsoid((21, 19, 17), (8, 7, 6))))
    file = tmp_path / 'out/dataset.json'
    assert '"modality": "mr"' in file.read_text()
    values = np.asanyarray(nibabel.load(tmp_path / 'out/images/a.nii').dataobj)
    assert values.dtype == np.int16 and values.min() == 0
    assert 900 < np.percentile(values[values > 100], 98) < 1100
    file.write_text(file.read_text().replace(',\n  "modality": "mr"', ''))
    assert load_manifest(tmp_path / 'out').modality == 'ct'
