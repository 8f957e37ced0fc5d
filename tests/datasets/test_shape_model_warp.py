"""New shapes from the model: particles, image and masks stay together."""

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope

from massm.datasets.transforms import ShapeModelWarp
from massm.datasets.transforms.random_warp import Warp, warp_sample
from massm.datasets.transforms.shape_model_warp import least_volume
from massm.errors import ConfigError
from massm.registry import DATASETS
from massm.shape.alignment import rigid_fit
from massm.shape.pdm import PointDistributionModel
from massm.shape.shape_sampling import draw_coefficients, kde_spread, leading_modes
from massm.shape.surface import surface_distance
from massm.structures import Grid
from tests.conftest import TINY_PARTICLES, TINY_SPACING


@pytest.fixture
def subject(tiny_dataset):
    """A training patient's loaded sample, twice."""
    init_default_scope('massm')
    dataset = DATASETS.build(
        {
            'type': 'ShapeDataset',
            'data_root': str(tiny_dataset),
            'split': 'train',
            'anatomies': ['heart_ventricle_left', 'lung_upper_lobe_right', 'spleen'],
            'num_particles': TINY_PARTICLES,
            'spacing': TINY_SPACING,
            'pipeline': [{'type': f'Load{kind}'} for kind in ('Volume', 'Particles', 'Masks')],
        }
    )
    return dataset[0], dataset[0]


def blob_model(mesh, rng):
    """A model of three smooth modes over a blob's vertices, and the vertices."""
    x, y, z = (mesh.vertices / 30).T
    modes = np.stack([np.stack([x, 0 * y, 0 * z], 1), np.stack([0 * x, x * y, z], 1)])
    shapes = mesh.vertices + np.einsum('nl,lvc->nvc', rng.normal(size=(30, 2)) * (4, 2), modes)
    return PointDistributionModel.fit(shapes)


@pytest.mark.parametrize('kind', ['kde', 'gaussian'])
def test_particles_still_lie_on_the_surface_of_what_the_image_shows(blob, rng, kind):
    """A ball in the image whose inside is its mask: after the warp, particles lie on the level
    between inside and outside to a third of a voxel."""
    from massm.shape.surface import voxelise

    shape = (48, 44, 40)
    grid = Grid(shape, np.diag([2.0, 2, 2, 1]))
    middle = np.array([48.0, 44, 40])
    mesh = blob.with_vertices(blob.vertices + middle)
    mask = voxelise(mesh, grid)
    results = {
        'anatomies': ['blob'],
        'spacing': 2.0,
        'volume': mask.astype(np.float32),
        'masks': mask[None].astype(np.uint8),
        'local_vox': (mesh.vertices[None] / 2).astype(np.float32),
        'has_box': np.array([True]),
        'has_shape': np.array([True]),
        'is_cut': np.array([False]),
        'counted': np.array([True]),
        'shape_models': [blob_model(blob, rng)],
        'rng': np.random.default_rng(3),
    }
    before = results['local_vox'].copy()
    after = ShapeModelWarp(kind=kind, spread=1.0, prob=1)(results)
    moved = np.linalg.norm(after['local_vox'] - before, axis=-1)[0]
    assert after['has_shape'][0] and moved.mean() > 0.4
    from massm.shape.reconstruction import mesh_from_mask

    surface = mesh_from_mask(after['masks'][0] > 0.5, grid)
    old = mesh_from_mask(mask, grid)
    off = surface_distance(2.0 * after['local_vox'][0].astype(float), surface).mean()
    assert off < surface_distance(mesh.vertices, old).mean() + 0.3
    assert surface_distance(mesh.vertices, surface).mean() > off


def test_a_warped_patient_follows_the_drawn_shapes_and_keeps_its_pose(subject):
    results, copy = subject
    step = ShapeModelWarp(spread=0.7, prob=1)
    drawn = step.sample(results)
    assert sorted(drawn) == list(np.flatnonzero(results['has_shape']))
    warp = step.warp_to(results, drawn)
    after = warp_sample(results, warp)
    for k, new in drawn.items():
        wanted = np.linalg.norm(new - copy['local_vox'][k], axis=1).mean()
        left = np.linalg.norm(new - after['local_vox'][k], axis=1).mean()
        assert left < 0.7 * wanted or not after['has_shape'][k]
        turn = rigid_fit(copy['local_vox'][k].astype(float), new).matrix[:3, :3]
        assert np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))) < 15
    assert least_volume(warp) > 0.2 and shown_volumes(warp).min() > 0.19


def test_far_from_the_anatomies_nothing_moves(subject):
    results, _ = subject
    one = ShapeModelWarp(prob=1)
    drawn = {k: v for k, v in one.sample(results).items() if k == 0}
    warp = one.warp_to(results, drawn)
    corner = torch.zeros(1, 3)
    assert torch.allclose(warp.backward(corner), corner, atol=0.3)


def test_shapes_that_would_fold_go_part_of_the_way(subject):
    results, _ = subject
    step = ShapeModelWarp(prob=1)
    k = int(np.flatnonzero(results['has_shape'])[0])
    own = results['local_vox'][k].astype(float)
    shrunk = own.mean(0) + 0.05 * (own - own.mean(0))
    warp = step.warp_to(results, {k: shrunk})
    assert warp is None or shown_volumes(warp).min() > 0.19


def shown_volumes(warp, step=1e-3):
    """What the input's space is made of around many places of the output, by what the warp itself
    says: volumes relative to the output's."""
    rng = np.random.default_rng(0)
    places = rng.uniform(1, np.array(warp.shape) - 2, (20000, 3))
    ends = [
        warp.backward(torch.as_tensor(places + step * (np.arange(3) == axis))).numpy()
        for axis in range(3)
    ]
    start = warp.backward(torch.as_tensor(places)).numpy()
    return np.linalg.det(np.stack([(end - start) / step for end in ends], -1))


@pytest.mark.parametrize('moved', [0.8, 1.5])
def test_a_fold_between_two_knots_is_seen(moved):
    """Differences over two cubes take the mean of one that folds and of one that is stretched."""
    bend = torch.zeros(3, 5, 5, 5, dtype=torch.float64)
    bend[0, 2, 2, 2] = moved * 4
    warp = Warp(np.full(3, 8.0), np.eye(3), np.zeros(3), bend, (17, 17, 17))
    assert least_volume(warp) == pytest.approx(1 - moved, abs=1e-6)
    assert least_volume(warp) <= shown_volumes(warp).min() + 1e-3
    assert shown_volumes(warp).min() == pytest.approx(1 - moved, abs=0.1)


def test_drawing_about_a_population_keeps_its_variance(rng):
    known = rng.standard_normal((4000, 3))
    for kind in ('kde', 'gaussian'):
        drawn = np.stack([draw_coefficients(row, kind, 0.8, rng) for row in known])
        assert np.allclose(drawn.std(0), 1, atol=0.06)
        with_own = np.corrcoef(drawn[:, 0], known[:, 0])[0, 1]
        assert with_own == pytest.approx(1 / np.sqrt(1.64) if kind == 'kde' else 0, abs=0.06)


def test_the_spread_is_the_way_to_the_nearest_neighbour():
    known = np.array([[0.0, 0], [3, 4], [3, 5]])
    assert kde_spread(known) == pytest.approx((5 + 1 + 1) / 3 / np.sqrt(2))
    assert kde_spread(known[:1]) == 1.0


def test_modes_that_are_drawn_hold_most_of_the_variance():
    model = PointDistributionModel(
        np.zeros((2, 3)), np.eye(6)[:3].reshape(3, 2, 3), np.array([90.0, 8.0, 2.0])
    )
    assert len(leading_modes(model)) == 2
    assert len(leading_modes(model.truncate(0))) == 0


def test_a_setting_that_cannot_be_is_one_sentence():
    for wrong in ({'kind': 'mixture'}, {'spread': 0.0}):
        with pytest.raises(ConfigError, match='kind is one of kde, gaussian and spread above 0'):
            ShapeModelWarp(**wrong)
