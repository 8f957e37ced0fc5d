"""What a source may hold that is not what its name says."""

import re

import numpy as np
import pytest

from massm.cli import run_command
from massm.cohort.manifest import load_manifest
from massm.structures import AnatomyStatus
from tests.cohort.test_prepare import AFFINE, SHAPE, ellipsoid, prepare, save, write_subject


def with_masks(tmp_path, **masks):
    write_subject(tmp_path / 'src/a', AFFINE)
    for name, mask in masks.items():
        save(tmp_path / f'src/a/segmentations/{name}.nii.gz', mask, AFFINE)
    command = [str(tmp_path / 'src'), str(tmp_path / 'out'), '--jobs', '1', '--anatomies', *masks]
    return run_command('prepare_dataset', command)


def test_one_label_map_under_two_names_is_refused(tmp_path, capsys):
    labels = ellipsoid((12, 22, 18), (5, 6, 5)) + 2 * ellipsoid((28, 22, 18), (6, 6, 5))
    assert with_masks(tmp_path, left=labels, right=labels) == 1
    printed = capsys.readouterr()
    assert 'left out: a:' in printed.out and 'values are 0, 1, 2;' in printed.out
    assert not (tmp_path / 'out/dataset.json').exists()


def test_one_mask_under_two_names_is_refused(tmp_path, capsys):
    assert with_masks(tmp_path, left=ellipsoid(), right=ellipsoid()) == 1
    assert 'is the same mask as left' in capsys.readouterr().out


def test_an_inverted_mask_is_refused(tmp_path, capsys):
    assert with_masks(tmp_path, organ=1 - ellipsoid()) == 1
    assert 'inverted?' in capsys.readouterr().out


def test_half_an_organ_is_not_whole(tmp_path, capsys):
    """Two organs in one mask, and one with empty slices in its middle; a crumb may go."""
    two = ellipsoid((12, 22, 18), (5, 6, 5)) + ellipsoid((28, 22, 18), (6, 6, 5))
    gap = ellipsoid()
    gap[:, :, 18:20] = 0
    crumb = ellipsoid()
    crumb[36:38, 40, 30] = 1
    assert with_masks(tmp_path, two=two, gap=gap, crumb=crumb) == 0
    printed = ' '.join(capsys.readouterr().out.split())
    shares = dict(re.findall(r'a/(\w+): (\d+) % of the mask', printed))
    assert shares.keys() == {'two', 'gap'} and all(30 < int(s) < 50 for s in shares.values())
    assert 'a/crumb: 2 voxels off' in printed
    entries = load_manifest(tmp_path / 'out').subjects[0].anatomies
    assert entries['two'].status is entries['gap'].status is AnatomyStatus.TRUNCATED
    assert entries['crumb'].status is AnatomyStatus.OK and entries['two'].mesh is None


CTS = {
    'air at 0': (lambda ct: ct + 1024, 0, 'shifted by 1024'),
    'mr': (lambda ct: 300 + 80 * np.random.default_rng(0).normal(size=SHAPE), 0, 'not in HU'),
    'constant': (lambda ct: 0 * ct, 1, 'every voxel is 0'),
}


@pytest.mark.parametrize('kind', CTS)
def test_a_ct_is_looked_at_as_infer_does(tmp_path, capsys, kind):
    change, code, words = CTS[kind]
    write_subject(tmp_path / 'src/a', AFFINE)
    ct = np.where(ellipsoid(), 100, -80)
    ct[:, 30:] = -1000
    save(tmp_path / 'src/a/ct.nii.gz', change(ct).astype(np.int16), AFFINE)
    assert prepare(tmp_path / 'src', tmp_path / 'out') == code
    assert words in capsys.readouterr().out


@pytest.mark.parametrize(
    ('scale', 'words'),
    [(0.001, 'field of view'), (0.0003, 'field of view'), (1000.0, 'GiB are free')],
)
def test_a_ct_in_other_units_is_left_out(tmp_path, capsys, scale, words):
    affine = np.diag([scale] * 3 + [1]) @ AFFINE
    write_subject(tmp_path / 'src/a', affine)
    assert prepare(tmp_path / 'src', tmp_path / 'out') == 1
    assert words in capsys.readouterr().out


def test_a_header_that_no_reader_takes_costs_its_subject_alone(tmp_path, capsys):
    for name in 'ab':
        write_subject(tmp_path / 'src' / name, AFFINE)
    from tests.io.test_odd_headers import BROKEN, patched

    ct = np.zeros((9, 8, 7), np.int16)
    patched(tmp_path / 'src/a/ct.nii.gz', ct, *BROKEN['dimensions'])
    assert prepare(tmp_path / 'src', tmp_path / 'out') == 1
    assert 'left out: a:' in capsys.readouterr().out
    assert [s.id for s in load_manifest(tmp_path / 'out').subjects] == ['b']
