import base64
import io

import numpy as np
import pytest
from PIL import Image

from massm.structures import Grid
from massm.visualization.grey_volume import grey_volume


def ramp(grid):
    """A scan whose values tell where in the patient a voxel lies: x + 2 y + 4 z, mm."""
    voxels = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing='ij'), -1)
    return (grid.to_patient(voxels) @ [1.0, 2.0, 4.0]).astype(np.float32)


AFFINES = {
    'flipped': np.diag([-3.0, -2, 4, 1]) + np.array([[0, 0, 0, 50], [0, 0, 0, 90], *[[0] * 4] * 2]),
    'permuted': np.array([[0, 0, 3.0, -20], [-2, 0, 0, 60], [0, 4, 0, -10], [0, 0, 0, 1]]),
    'oblique': np.array([[2.8, 0.9, 0, 5], [-0.9, 2.8, 0, 7], [0, 0, 3, -9], [0, 0, 0, 1.0]]),
}


@pytest.mark.parametrize('affine', AFFINES.values(), ids=AFFINES)
def test_a_voxel_shows_its_place_in_the_patient_however_the_scan_is_stored(affine):
    grid = Grid((30, 32, 28), affine)
    middle = grid.corners_mm().mean(0)
    vertices = middle + np.array([[-4, -4, -4], [4, 4, 4]])
    grey = grey_volume(ramp(grid), grid, vertices, (-600.0, 900.0))
    places = np.stack(np.meshgrid(*map(np.arange, grey.values.shape), indexing='ij'), -1)
    places = grey.first_mm + grey.spacing * places
    near = np.linalg.norm(places - middle, axis=-1) < 20
    expected = (places @ [1.0, 2.0, 4.0] + 600) / 1500 * 255
    assert near.sum() > 500 and np.abs(grey.values - expected)[near].max() < 1


def test_the_picture_holds_the_slices_in_order():
    grid = Grid((24, 32, 20), np.diag([4.0, 4, 4, 1]))
    grey = grey_volume(ramp(grid), grid, grid.corners_mm(), (-50.0, 750.0))
    told = grey.to_json()
    sheet = Image.open(io.BytesIO(base64.b64decode(told['image'].split(',')[1])))
    pixels = np.asarray(sheet).astype(int)
    nx, ny, nz = told['shape']
    for z in range(nz):
        row, column = divmod(z, told['columns'])
        tile = pixels[row * ny : (row + 1) * ny, column * nx : (column + 1) * nx]
        assert np.abs(tile.T - grey.values[:, :, z]).max() <= 8  # of a JPEG


def test_a_fine_scan_is_made_coarser_and_a_surface_beyond_it_is_no_error():
    grid = Grid((200, 200, 200), np.diag([1.0, 1, 1, 1]))
    scan = np.zeros(grid.shape, dtype=np.float32)
    whole = grey_volume(scan, grid, grid.corners_mm(), (-200.0, 350.0))
    assert whole.values.size < 1.7e6 and whole.spacing > 1
    beyond = grey_volume(
        scan, grid, np.array([[300.0, 300, 300], [320, 320, 320]]), (-200.0, 350.0)
    )
    assert beyond.values.size < whole.values.size
