"""What a dataset knows of its subjects, whichever part of them is loaded."""

import numpy as np
from mmengine.registry import init_default_scope

from massm.registry import DATASETS
from tests.cohort.test_imports import bring, dataset, project  # noqa: F401  fixtures


def test_centres_of_a_part_of_the_subjects_are_theirs(dataset, project):  # noqa: F811
    _, out = dataset
    assert bring(project('abd'), out, 'atrium') == 0
    init_default_scope('massm')
    config = {
        'type': 'ShapeDataset',
        'data_root': str(out),
        'split': 'train',
        'anatomies': ['atrium'],
        'num_particles': 28,
        'spacing': 3.0,
    }
    every = DATASETS.build(config).centers()
    assert every.shape == (4, 1, 3) and np.isnan(every[2]).all() and np.isfinite(every[3]).all()
    for part in (2, [3, 0]):
        some = DATASETS.build({**config, 'indices': part}).centers()
        expected = every[:part] if isinstance(part, int) else every[part]
        assert np.array_equal(some, expected, equal_nan=True)
