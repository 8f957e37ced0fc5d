import numpy as np
import pytest

from massm.evaluation.agreement import (
    LEAST_CASES,
    PAIRED,
    correlations,
    paired_scores,
    paired_sizes,
)
from massm.evaluation.summary import by_anatomy
from massm.shape.pdm import PointDistributionModel
from massm.shape.reconstruction import mesh_from_mask
from massm.structures import Grid


def rows(told, true):
    return [
        {'anatomy': 'a', 'volume_ml': x, 'volume_ml_reference': y}
        for x, y in zip(told, true, strict=True)
    ]


def ball(radius):
    axes = np.indices((40, 40, 40)) - 20
    return mesh_from_mask((axes**2).sum(0) <= radius**2, Grid((40, 40, 40), np.eye(4)))


def test_what_follows_the_patients_though_nearer_to_the_mean_has_a_correlation_of_one():
    true = np.linspace(10, 20, LEAST_CASES)
    shrunk = 15 + 0.1 * (true - 15)
    assert correlations(rows(shrunk, true)) == {'volume_ml_correlation': pytest.approx(1)}
    assert correlations(rows(true[::-1], true)) == {'volume_ml_correlation': pytest.approx(-1)}


def test_no_correlation_over_a_few_patients_or_without_differences():
    true = np.linspace(10, 20, LEAST_CASES)
    assert correlations(rows(true[1:], true[1:])) == {}
    assert correlations(rows(np.full(LEAST_CASES, 15.0), true)) == {}
    assert correlations([]) == {}


def test_sizes_and_scores_stand_beside_the_true_ones():
    sizes = paired_sizes(ball(8), ball(12))
    assert sizes['volume_ml_reference'] / sizes['volume_ml'] == pytest.approx(1.5**3, rel=0.05)
    assert sizes['axis1_mm_reference'] / sizes['axis1_mm'] == pytest.approx(1.5, rel=0.05)
    rng = np.random.default_rng(0)
    model = PointDistributionModel.fit(rng.normal(size=(6, 20, 3)))
    told, true = model.instance(np.eye(5)[0]), model.instance(-2 * np.eye(5)[1])
    scores = paired_scores(model, told, true)
    assert scores['mode1_std'] == pytest.approx(1)
    assert scores['mode2_std_reference'] == pytest.approx(-2)
    assert set(scores) | set(sizes) == set(PAIRED)


def test_a_model_of_fewer_modes_has_scores_along_those():
    model = PointDistributionModel.fit(np.random.default_rng(0).normal(size=(3, 20, 3)))
    scores = paired_scores(model, model.mean, model.mean)
    assert set(scores) == {'mode1_std', 'mode2_std', 'mode1_std_reference', 'mode2_std_reference'}


def test_no_mean_of_them_is_a_measure():
    assert by_anatomy(rows([1.0], [2.0])) == {'a': {}}
