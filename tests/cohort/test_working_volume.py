"""The network sees the same body on the same cells, however the scan is stored."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from massm.cohort.resample import resample
from massm.cohort.working_volume import BODY_HU, body_extent, stored, working_volume
from massm.structures import Grid

AIR, TISSUE = -1000.0, 40.0


@pytest.fixture
def scan():
    """A smooth ellipsoid of tissue in air, off the middle; 2 mm voxels."""
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = (-71, 13, 205)
    grid = Grid((90, 80, 70), affine)
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing='ij'), -1)
    radius = np.linalg.norm((index - (50, 38, 33)) / (28, 24, 22), axis=-1)
    return AIR + (TISSUE - AIR) / (1 + np.exp(np.clip(12 * (radius - 1), -50, 50))), grid


def stored_in_a_turned_grid(volume, grid):
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler('xyz', (20, -9, 14), degrees=True).as_matrix() * 2.0
    size = np.array([120, 116, 112])
    turn[:3, 3] = grid.corners_mm().mean(0) - turn[:3, :3] @ ((size - 1) / 2)
    turned = Grid(tuple(size), turn)
    return resample(volume, grid, turned, outside=AIR), turned


def stored_with_more_air(volume, grid):
    affine = np.array(grid.affine)
    affine[:3, 3] -= (14, 6, 10)
    more = np.pad(volume, [(7, 4), (3, 9), (5, 0)], constant_values=AIR)
    return more, Grid(more.shape, affine)


@pytest.mark.parametrize('store', [stored_in_a_turned_grid, stored_with_more_air])
def test_it_is_the_same_however_the_scan_is_stored(scan, store):
    expected, grid = working_volume(*scan, 3.0)
    found, same = working_volume(*store(*scan), 3.0)
    assert same.is_close(grid)
    assert (
        np.abs(found - expected).mean() < 8 and np.corrcoef(found.flat, expected.flat)[0, 1] > 0.99
    )


def test_it_is_the_body_and_little_air(scan):
    hu, grid = working_volume(*scan, 3.0)
    low, high = body_extent(hu > BODY_HU, 3.0)
    assert (low < 4).all() and (high == hu.shape).all()
    assert np.prod(grid.shape) < 0.6 * np.prod(scan[1].working(3.0).shape)


def test_done_twice_is_done_once(scan):
    hu, grid = working_volume(*scan, 3.0)
    again, same = working_volume(hu, grid, 3.0)
    assert same.is_close(grid) and np.array_equal(again, hu)


def test_specks_are_no_body_and_no_body_is_kept_whole(scan):
    volume, grid = np.full(scan[1].shape, AIR), scan[1]
    volume[3, 3, 3] = TISSUE
    hu, whole = working_volume(volume, grid, 3.0)
    assert whole.is_close(grid.working(3.0)) and hu.shape == whole.shape
    hu, whole = working_volume(np.full(grid.shape, 80.0), grid, 3.0)
    assert whole.corners_mm().min() <= grid.corners_mm().min()


@pytest.mark.parametrize(('modality', 'ends'), [('ct', [-1024, 3071]), ('mr', [0, 10000])])
def test_values_beyond_the_range_are_stored_as_its_ends(modality, ends):
    """Where whole numbers of 16 bits would begin again from the other side, too."""
    values = np.array([-40000.0, -1500.0, 12.4, 20000.0, 40000.0])
    found = stored(values, modality)
    assert found.dtype == np.int16
    assert found.tolist() == [ends[0], ends[0], 12, ends[1], ends[1]]
