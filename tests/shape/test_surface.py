import numpy as np
import pytest

from massm.shape.particles import farthest_points, spacing_variation
from massm.shape.reconstruction import (
    largest_component,
    mesh_from_mask,
    touches_edge,
    without_holes,
)
from massm.shape.surface import (
    closest_points,
    folded_fraction,
    surface_distance,
    voxelise,
)
from massm.shape.surface_warp import SurfaceWarp
from massm.structures import Grid


def test_warp_is_exact_at_particles_and_for_affine_motions(sphere, rng):
    chosen = farthest_points(sphere.vertices, 60)
    particles = sphere.vertices[chosen]
    warp = SurfaceWarp(sphere.vertices, particles)
    shaken = particles + rng.normal(size=particles.shape)
    assert np.allclose(warp.apply(shaken)[chosen], shaken, atol=1e-6)
    linear, shift = rng.normal(size=(3, 3)), rng.normal(size=3) * 100
    moved = warp.apply(particles @ linear.T + shift)
    assert np.allclose(moved, sphere.vertices @ linear.T + shift, atol=1e-6)


def test_distance_to_a_sphere_is_known(sphere):
    points = np.array([[40.0, 0, 0], [0, 0, 0], [0, 25, 0]])
    assert surface_distance(points, sphere) == pytest.approx([20, 20, 5], abs=0.2)
    far = sphere.with_vertices(sphere.vertices + 1000)
    assert surface_distance(points + 1000, far) == pytest.approx([20, 20, 5], abs=0.2)
    assert np.allclose(closest_points(sphere.vertices[:5], sphere), sphere.vertices[:5], atol=1e-5)


@pytest.mark.parametrize('flip', [1, -1])
def test_mask_of_a_mesh_has_its_volume_on_any_grid(sphere, flip):
    affine = np.diag([flip * 1.5, 2.0, 1.0, 1.0])
    affine[:3, 3] = (-flip * 30, -40, -25)
    grid = Grid((41, 41, 51), affine)
    mask = voxelise(sphere, grid)
    assert mask.sum() * grid.voxel_volume == pytest.approx(sphere.volume(), rel=0.02)
    mesh = mesh_from_mask(mask, grid)
    assert mesh.volume() == pytest.approx(sphere.volume(), rel=0.03)
    assert surface_distance(mesh.vertices, sphere).mean() < 0.3


def test_holes_that_a_mask_encloses_have_no_surface(sphere):
    affine = np.diag([1.5, 2.0, 1.0, 1.0])
    affine[:3, 3] = (-30, -40, -25)
    grid = Grid((41, 41, 51), affine)
    mask = voxelise(sphere, grid)
    hollow, dented = mask.copy(), mask.copy()
    hollow[voxelise(sphere.with_vertices(sphere.vertices * 0.7), grid)] = False
    dented[20, 20:, 25] = False
    whole = mesh_from_mask(mask, grid)
    for inside in (hollow, np.where(hollow, 0.9, 0.1)):
        filled = mesh_from_mask(inside, grid)
        assert filled.volume() == pytest.approx(whole.volume(), rel=0.02)
        assert surface_distance(filled.vertices, whole).max() < 1
    assert np.array_equal(mesh_from_mask(hollow, grid).vertices, whole.vertices)
    assert without_holes(dented) is dented


def test_shares_of_voxels_say_where_between_them_the_surface_is(sphere):
    """As the part of each coarse voxel that lies in a ball; at the volume's edge, too."""
    grid = Grid((12, 12, 12), np.diag([4.0, 4.0, 4.0, 1.0]))
    center = np.array([23.0, 22.0, 19.0])
    places = grid.to_patient(np.argwhere(np.ones(grid.shape)).astype(float)).reshape(12, 12, 12, 3)
    shares = np.clip((20 - np.linalg.norm(places - center, axis=-1)) / 4 + 0.5, 0, 1)
    ball = sphere.with_vertices(sphere.vertices + center)
    errors = [
        surface_distance(mesh_from_mask(mask, grid).vertices, ball).mean()
        for mask in (shares.astype(np.float16), shares > 0.5)
    ]
    assert errors[0] < 0.25 and errors[1] > 1.5 * errors[0], errors


def test_a_mesh_outside_the_grid_gives_an_empty_mask(sphere):
    assert not voxelise(sphere, Grid((5, 5, 5), np.diag([1.0, 1, 1, 1]) + 0)).sum() > 125
    far = sphere.with_vertices(sphere.vertices + 500)
    assert not voxelise(far, Grid((5, 5, 5), np.eye(4))).any()


def test_folds_are_counted(sphere):
    assert folded_fraction(sphere, sphere.vertices, sphere) == 0
    inside_out = sphere.vertices * (-1, 1, 1)
    assert folded_fraction(sphere, inside_out, sphere) > 0.9


def test_largest_component_is_kept_and_the_rest_counted():
    mask = np.zeros((10, 10, 10), bool)
    mask[1:4, 1:4, 1:4] = True
    mask[7:9, 7, 7] = True
    kept, dropped = largest_component(mask)
    assert kept.sum() == 27 and dropped == 2
    assert not touches_edge(kept)
    mask[0, 5, 5] = True
    assert touches_edge(mask)


def test_farthest_points_are_distinct_spread_and_move_with_the_shape(blob):
    chosen = farthest_points(blob.vertices, 100)
    assert len(set(chosen.tolist())) == 100
    assert spacing_variation(blob.vertices[chosen]) < 0.2
    assert np.array_equal(chosen, farthest_points(blob.vertices + 7, 100))
