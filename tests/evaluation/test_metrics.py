import json

import numpy as np
import pytest
import torch

from massm.evaluation.detection_metric import detection_rows
from massm.evaluation.shape_metric import ShapeMetric
from massm.evaluation.summary import by_anatomy, mean_over_anatomies, merge_rows
from massm.io.nifti import read_volume
from massm.io.particles import read_particles
from massm.io.templates import read_template
from massm.shape.metrics import axis_rmse

NAMES = ['a', 'b', 'c', 'd']


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
    rows = detection_rows(detected([0.9, 0.9, 0.9, 0.1], shift=2.0), 0.3)
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
    assert [row['anatomy'] for row in detection_rows(unknown, 0.3)] == ['a', 'c', 'd']
    assert detection_rows(detected([0.2, 0, 0, 0]), 0.3)[0]['missed'] == 1
    assert detection_rows(detected([0.9, 0, 0, 0], shift=5), 0.3)[0]['missed'] == 1


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
        'pred_local_vox': voxels + torch.tensor([0.5, 0, 0]),
        'world_mm': torch.as_tensor(world)[None],
        'pred_world_mm': torch.as_tensor(world)[None],
        'pred_boxes': torch.cat([center, torch.ones(3)])[None],
        'mesh': [root / entry['mesh']],
        'mask': [root / entry['mask']],
    }
    metric = ShapeMetric(surfaces=True)
    metric.dataset_meta = {'data_root': str(root), 'anatomies': [name], 'num_particles': 64}
    metric.process(None, [sample])
    values = metric.compute_metrics(metric.results)
    assert values['world_rmse_mm'] == 0
    assert values['local_rmse_mm'] == pytest.approx(0.5 * 8 / 3, rel=1e-3)
    assert values['local_error_mm'] == pytest.approx(4.0, rel=1e-3)
    assert values['dice'] > 0.7 and values['s2s_mask_mm'] < 4 and values['hd95_mm'] < 10
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
