"""``stats.json``: what it says of shapes, training ones and others."""

import json
from dataclasses import replace

import numpy as np
import pytest

from massm.cohort.shape_folder import RegisteredShape
from massm.cohort.shape_summary import quality_table, write_summary
from massm.cohort.surface_cohort import ShapeSource
from massm.io.particles import write_particles
from massm.shape.pdm import PointDistributionModel
from massm.shape.quality import Quality
from massm.structures import RigidTransform

FINE = Quality(0.1, 0.1, 0.1, 0.1, 0.0, 0)


@pytest.fixture
def summary(tmp_path, rng):
    """``summary(folder, scores, train)``: that of shapes with one great and many small modes."""
    modes, base = rng.normal(size=(12, 20, 3)), 30 * rng.normal(size=(20, 3))

    def write(folder, scores, train, fixed=None):
        results = []
        for i, (score, is_train) in enumerate(zip(scores, train, strict=True)):
            small = 0.05 * rng.normal(size=12)
            shape = base + np.tensordot(small + np.eye(12)[0] * score, modes, axes=1)
            write_particles(tmp_path / folder / f'world/s{i}.particles', shape)
            source = ShapeSource(f's{i}', tmp_path / f's{i}.ply', is_train)
            results.append(RegisteredShape(source, RigidTransform(np.eye(4)), FINE))
        return write_summary(tmp_path / folder, 'organ', results, fixed)

    return write


def distances(stats):
    return [row['mahalanobis'] for row in stats['quality'].values()]


def test_the_distance_tells_shapes_apart(summary, tmp_path):
    """A planted outlier is farthest, and held-out shapes are measured alike, here and by a model
    that is fixed."""
    scores = [*np.linspace(-1, 1, 12), 6.0, 0.0, 9.0]
    stats = summary('own', scores, [True] * 13 + [False] * 2)
    found = distances(stats)
    assert stats['mahalanobis_modes'] == 1
    assert np.ptp(found[:12]) > 0.3 and int(np.argmax(found[:13])) == 12
    assert found[13] < 1 and found[14] > found[12]
    new = summary('new', [0.0, 9.0], [False] * 2, tmp_path / 'own/pdm.npz')
    assert new['mahalanobis_modes'] == 1
    assert distances(new) == pytest.approx(found[13:], abs=0.1)


def test_two_shapes_have_no_distance_that_says_anything(summary):
    assert distances(summary('o', [-1.0, 1.0], [True, True])) == [None, None]


def test_new_shapes_that_are_all_left_out_leave_empty_statistics(summary, tmp_path):
    summary('own', np.linspace(-1, 1, 6), [True] * 6)
    failed = RegisteredShape(ShapeSource('n', tmp_path / 'n.ply', False), failure='too large')
    write_summary(tmp_path / 'new', 'organ', [failed], tmp_path / 'own/pdm.npz')
    stats = json.loads((tmp_path / 'new/stats.json').read_text())
    assert stats['left_out'] == {'n': 'too large'} and stats['quality'] == {}
    assert stats['generalization'] == [] and stats['generalization_shapes'] == 0


@pytest.mark.parametrize('count', [1, 2, 9])
def test_an_odd_shape_is_told_though_it_is_all_that_a_median_is_of(tmp_path, rng, count):
    """One or two new to a fixed model; where all are like it, it is what is usual."""
    shapes = rng.normal(size=(count, 20, 3))
    results = []
    for i, shape in enumerate(shapes):
        write_particles(tmp_path / f'world/s{i}.particles', shape)
        source = ShapeSource(f's{i}', tmp_path / f's{i}.ply', train=False)
        off = replace(FINE, surface_distance_mm=0.7)
        results.append(RegisteredShape(source, RigidTransform(np.eye(4)), off))
    table = quality_table(tmp_path, results, PointDistributionModel.fit(shapes), set())
    told = [] if count == 9 else ['lies off its surface (0.7)']
    assert all(row['warnings'] == told for row in table.values())
