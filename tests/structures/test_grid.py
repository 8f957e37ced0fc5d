import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from massm.errors import ImageError
from massm.structures import Grid


def oblique(shape=(20, 30, 25)) -> Grid:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler('xyz', (12, -8, 20), degrees=True).as_matrix() @ np.diag(
        [-1.5, 2.0, 3.0]
    )
    affine[:3, 3] = (10, -50, 200)
    return Grid(shape, affine)


def test_voxel_and_patient_are_inverse_on_an_oblique_mirrored_grid(rng):
    grid, points = oblique(), rng.normal(size=(50, 3)) * 40
    assert np.allclose(grid.to_voxel(grid.to_patient(points)), points)
    assert np.allclose(grid.spacing, (1.5, 2, 3))


def test_working_grid_covers_the_field_of_view_and_is_ras():
    working = oblique().working(3.0)
    corners = working.to_voxel(oblique().corners_mm())
    assert (corners > -1).all() and (corners < np.array(working.shape)).all()
    assert np.allclose(working.affine[:3, :3], 3 * np.eye(3))


def test_working_grid_begins_at_the_same_cells_wherever_the_scan_does():
    affine = np.diag([1.5, 1.5, 3.0, 1.0])
    affine[:3, 3] = (-41, 7, 600)
    whole = Grid((100, 100, 60), affine)
    part = whole.cropped(np.array((5, 1, 7)), np.array((90, 100, 60)))
    assert np.allclose(part.affine[:3, 3], whole.to_patient(np.array((5, 1, 7))))
    assert part.shape == (85, 99, 53)
    for grid in (whole, part):
        first_face = grid.working(3.0).affine[:3, 3] - 1.5
        assert np.allclose(first_face / 12, np.round(first_face / 12))
    working = whole.working(3.0)
    assert working.working(3.0).is_close(working)


@pytest.mark.parametrize('flip', [(1, 1, 1), (-1, 1, 1), (-1, -1, 1), (1, -1, -1)])
def test_working_grid_does_not_depend_on_axis_direction(flip):
    affine, shape = np.diag([2.0, 3.0, 4.0, 1.0]), np.array([10, 12, 14])
    plain = Grid(tuple(shape), affine)
    turned = affine @ np.diag([*flip, 1])
    turned[:3, 3] = affine[:3, :3] @ np.where(np.array(flip) < 0, shape - 1, 0)
    assert plain.working(2.0).is_close(Grid(tuple(shape), turned).working(2.0))


@pytest.mark.parametrize(
    'shape, affine', [((0, 2, 2), np.eye(4)), ((2, 2, 2), np.zeros((4, 4))), ((2, 2), np.eye(4))]
)
def test_nonsense_is_refused(shape, affine):
    with pytest.raises(ImageError):
        Grid(shape, affine)


def test_small_voxels_are_no_plane():
    """As of a header in metres; a plane is one at any size of voxels."""
    small = Grid((9, 9, 9), np.diag([8e-4, 8e-4, 8e-4, 1]))
    assert np.allclose(small.spacing, 8e-4)
    flat = 1e3 * np.array([[1.0, 0, 1, 0], [0, 1, 1, 0], [0, 0, 1e-9, 0], [0, 0, 0, 1e-3]])
    with pytest.raises(ImageError, match='singular'):
        Grid((9, 9, 9), flat)
