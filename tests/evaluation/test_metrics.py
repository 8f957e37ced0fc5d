import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from massm.engine.hooks import CalibrationHook
from massm.evaluation.detection_metric import detection_rows
from massm.evaluation.shape_metric import ShapeMetric
from massm.evaluation.summary import by_anatomy, mean_over_anatomies, merge_rows
from massm.evaluation.uncertainty_metric import UncertaintyMetric
from massm.io.nifti import read_mask, read_volume
from massm.io.particles import read_particles
from massm.io.templates import read_template
from massm.shape.metrics import axis_rmse
from massm.shape.surface_warp import SurfaceWarp
from massm.structures import Grid

NAMES = ['a', 'b', 'c', 'd']
THRESHOLDS = [0.3] * len(NAMES)


def detected(scores, shift=0.0):
    boxes = torch.tensor([[10.0, 10, 10, 4, 4, 4]] * 4)
    predicted = boxes.clone()
    predicted[:, 0] += shift
    has = torch.tensor([True, False, False, False])
    return {
        'id': 's',
        'anatomies': NAMES,
        'status': ['ok', 'absent', 'truncated', 'empty'],
        'spacing': 3.0,
        'scores': torch.tensor(scores),
        'boxes': torch.where(has[:, None], boxes, torch.zeros_like(boxes)),
        'pred_boxes': predicted,
        'has_box': has,
        'has_shape': has,
    }


def test_found_missed_false_and_what_is_not_counted():
    rows = detection_rows(detected([0.9, 0.9, 0.9, 0.1], shift=2.0), THRESHOLDS)
    assert rows[0]['found'] == 1 and rows[0]['missed'] == 0
    assert rows[0]['center_error_mm'] == pytest.approx(6.0)
    assert rows[0]['box_iou'] == pytest.approx(0.6)
    assert rows[1] == {
        'id': 's',
        'anatomy': 'b',
        'status': 'absent',
        'score': rows[1]['score'],
        'false': 1,
    }
    assert not {'found', 'missed', 'false'} & set(rows[2])
    assert rows[3]['false'] == 0
    unknown = detected([0.9] * 4) | {'status': ['ok', 'unlabelled', 'truncated', 'empty']}
    assert [row['anatomy'] for row in detection_rows(unknown, THRESHOLDS)] == ['a', 'c', 'd']
    assert detection_rows(detected([0.2, 0, 0, 0]), THRESHOLDS)[0]['missed'] == 1
    assert detection_rows(detected([0.9, 0, 0, 0], shift=5), THRESHOLDS)[0]['missed'] == 1
    own = detection_rows(detected([0.4, 0.4, 0.4, 0.4]), [0.5, 0.3, 0.3, 0.45])
    assert [own[0]['missed'], own[-1]['false']] == [1, 0], 'each anatomy has its own'


@pytest.mark.parametrize('lacking', ['scores', 'pred_boxes'])
def test_what_is_not_predicted_is_not_measured(lacking):
    sample = detected([0.9] * 4)
    del sample[lacking]
    assert detection_rows(sample, THRESHOLDS) == []


def test_summaries_sum_counts_and_average_the_rest():
    rows = [
        {'id': '1', 'anatomy': 'a', 'found': 1, 'dice': 0.5},
        {'id': '2', 'anatomy': 'a', 'found': 1, 'dice': 0.7},
        {'id': '1', 'anatomy': 'b', 'found': 0, 'dice': 1.0},
        {'id': '2', 'anatomy': 'b', 'false': 1},
    ]
    assert by_anatomy(rows)['a'] == {'found': 2, 'dice': pytest.approx(0.6)}
    assert mean_over_anatomies(rows) == {'found': 2, 'dice': pytest.approx(0.8), 'false': 1}
    merged = merge_rows(rows[:1], [{'id': '1', 'anatomy': 'a', 'hd95_mm': 3}])
    assert merged == [{**rows[0], 'hd95_mm': 3}]


@pytest.fixture
def whole_case(tiny_dataset):
    """The first subject and anatomy with particles, as the loader would give it."""
    content = json.loads((tiny_dataset / 'dataset.json').read_text())
    for row in content['data_list']:
        for name, entry in row['anatomies'].items():
            if 'local' in entry:
                return tiny_dataset, row, name, entry
    raise AssertionError


def as_sample(whole_case, **predictions):
    """The true particles of a case as a sample, and ``predictions``."""
    root, row, name, entry = whole_case
    _, grid = read_volume(root / row['image'])
    local = torch.as_tensor(grid.to_voxel(read_particles(root / entry['local'])))[None]
    return {
        'id': row['id'],
        'anatomies': [name],
        'has_shape': torch.tensor([True]),
        'image_shape': grid.shape,
        'affine': grid.affine,
        'local_vox': local,
        **predictions,
    }


@pytest.mark.parametrize('said', [1.0, 4.0])
def test_uncertainty_is_compared_with_the_errors_along_the_normal(whole_case, said):
    root, _, name, _ = whole_case
    true = as_sample(whole_case)['local_vox']
    grid = Grid(as_sample(whole_case)['image_shape'], as_sample(whole_case)['affine'])
    template = read_template(root, name, 64)
    warp = SurfaceWarp(template.mesh.vertices, template.local)
    local = grid.to_patient(true[0].numpy())
    surface = template.mesh.with_vertices(warp.apply(local))
    _, nearest = cKDTree(surface.vertices).query(local)
    normals = surface.vertex_normals()[nearest]
    noise = np.random.default_rng(0).normal(0, 2, (64, 1))
    moved = torch.as_tensor(grid.to_voxel(local + noise * normals))[None]
    metric = UncertaintyMetric()
    metric.dataset_meta = {'data_root': str(root), 'anatomies': [name], 'num_particles': 64}
    deviation = torch.full((1, 64), said)
    sample = as_sample(whole_case, pred_local_vox=moved, pred_deviation_mm=deviation)
    metric.process(None, [sample, as_sample(whole_case, pred_local_vox=moved)])
    assert len(metric.results) == 2 and metric.results[1] == []  # one that does not say
    values = metric.compute_metrics(metric.results)
    assert values['uncertainty_mm'] == said
    # Noise of 2 mm; moved surfaces have somewhat other normals.
    assert values[f'deviation_factor/{name}'] == pytest.approx(2 / said, rel=0.3)
    assert values[f'usual_uncertainty/{name}'] == np.inf  # one case does not tell
    many = metric.compute_metrics([metric.results[0]] * 12)
    assert many[f'usual_uncertainty/{name}'] == pytest.approx(2, rel=0.3)
    assert (values['within_1_std'] > 0.9) == (said == 4.0)


def test_validation_calibrates_the_model():
    head = SimpleNamespace(calls=[])
    head.calibrate = lambda *arguments: head.calls.append(arguments)
    model = SimpleNamespace(local_head=head, anatomies=['a', 'b'])
    metrics = {'deviation_factor/b': 1.5, 'usual_uncertainty/b': 2.5}
    CalibrationHook().after_val_epoch(SimpleNamespace(model=model), metrics)
    assert head.calls == [(1, 1.5, 2.5)]
    model.local_head = object()  # a head that does not say
    CalibrationHook().after_val_epoch(SimpleNamespace(model=model), metrics)


def test_perfect_particles_score_perfectly_and_the_yardstick_is_the_mean_shape(whole_case):
    root, row, name, entry = whole_case
    _, grid = read_volume(root / row['image'])
    local = read_particles(root / entry['local'])
    world = read_particles(root / entry['world'])
    voxels = torch.as_tensor(grid.to_voxel(local))[None]
    center = (voxels[0].amax(0) + voxels[0].amin(0)) / 2
    sample = {
        'id': row['id'],
        'anatomies': [name],
        'has_shape': torch.tensor([True]),
        'image_shape': grid.shape,
        'affine': grid.affine,
        'local_vox': voxels,
        'pred_local_vox': voxels + torch.tensor([0.25, 0, 0]),
        'world_mm': torch.as_tensor(world)[None],
        'pred_world_mm': torch.as_tensor(world)[None],
        'pred_boxes': torch.cat([center, torch.ones(3)])[None],
        'mesh': [root / entry['mesh']],
        'mask': [root / entry['mask']],
        'pred_masks': torch.as_tensor(read_mask(root / entry['mask'])[0])[None],
    }
    metric = ShapeMetric(surfaces=True)
    metric.dataset_meta = {'data_root': str(root), 'anatomies': [name], 'num_particles': 64}
    metric.process(None, [sample])
    values = metric.compute_metrics(metric.results)
    assert values['world_rmse_mm'] == 0
    assert values['local_rmse_mm'] == pytest.approx(0.25 * 8 / 3, rel=1e-3)
    assert values['local_error_mm'] == pytest.approx(2.0, rel=1e-3)
    assert values['dice'] > 0.7 and values['s2s_mask_mm'] < 4 and values['hd95_mm'] < 10
    assert values['dice_drawn_mask'] == 1 and values['s2s_mask_mm_drawn_mask'] < 2
    # A quarter of a voxel along x, in part across the surface and in part along it.
    both = values['normal_error_mm'] ** 2 + values['tangential_error_mm'] ** 2
    assert both == pytest.approx(2.0**2, rel=1e-3)
    assert values['s2s_mask_mm_mean_shape_true_center'] > values['s2s_mask_mm']
    assert values['dice_mean_shape_predicted_center'] < values['dice']
    mean = read_template(root, name, 64).mean_world
    middle = (mean.max(0) + mean.min(0)) / 2
    expected = axis_rmse(mean - middle + (local.max(0) + local.min(0)) / 2, local)
    assert values['local_rmse_mm_mean_shape_true_center'] == pytest.approx(expected)
    assert values['local_rmse_mm_mean_shape_predicted_center'] == pytest.approx(expected, rel=1e-5)


def test_truncated_anatomies_are_not_measured():
    metric = ShapeMetric()
    metric._templates = [None] * 4
    sample = detected([0.9] * 4)
    sample['has_shape'] = torch.zeros(4, dtype=torch.bool)
    metric.process(None, [sample])
    assert metric.compute_metrics(metric.results) == {}
    assert np.size(metric.rows) == 0
