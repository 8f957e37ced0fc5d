import numpy as np
import pytest
from scipy.stats import wilcoxon

from massm.evaluation.comparison import bootstrap_interval, holm, paired_p_value, summarise


def test_the_interval_of_a_large_sample_is_the_normal_one(rng):
    values = rng.normal(5, 2, 400)
    low, high = bootstrap_interval(values)
    error = values.std() / np.sqrt(400)
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.05)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.05)


def test_two_patients_give_the_interval_that_counting_gives():
    """Of two values 0 and 1 a quarter of the samples has mean 0, a quarter 1: both ends."""
    assert bootstrap_interval(np.array([0.0, 1.0])) == (0.0, 1.0)
    assert bootstrap_interval(np.array([3.0, 3.0, 3.0])) == (3.0, 3.0)


def test_over_anatomies_a_patient_is_drawn_with_all_of_them():
    """Were they drawn apart, errors that cancel within each patient would not."""
    cancel = np.array([[0.0, 2.0, 4.0], [4.0, 2.0, 0.0]])
    assert bootstrap_interval(cancel) == (2.0, 2.0)
    some = np.array([[1.0, np.nan], [np.nan, 3.0]])
    low, high = bootstrap_interval(some)
    assert (low, high) == (1.0, 3.0)


def test_a_summary_is_of_what_is_there():
    found = summarise([1.0, 2.0, 6.0])
    assert (found.count, found.mean, found.median) == (3, 3.0, 2.0) and found.low < 3 < found.high
    assert summarise([]) is None


def test_pairs_are_the_patients_that_both_have(rng):
    one = {f'p{i}': float(v) for i, v in enumerate(rng.normal(0, 1, 12))}
    other = {name: value + 0.5 + 0.1 * i for i, (name, value) in enumerate(one.items())}
    expected = wilcoxon([one[name] - other[name] for name in one]).pvalue
    assert paired_p_value({**one, 'only': 9.0}, other) == pytest.approx(expected)
    # All twelve differences of one sign: 2 of the 2^12 signs are as extreme.
    assert expected == pytest.approx(2 / 2**12)
    assert paired_p_value(one, one) == 1.0
    assert paired_p_value(one, {'p0': 1.0}) is None


def test_holm_by_hand():
    """0.01 x 4, then max with 0.02 x 3, 0.03 x 2, 0.5 x 1."""
    found = holm({'a': 0.5, 'b': 0.01, 'c': 0.03, 'd': 0.02, 'e': None})
    assert found == pytest.approx({'a': 0.5, 'b': 0.04, 'c': 0.06, 'd': 0.06, 'e': None})
    assert holm({'a': 0.9, 'b': 0.8}) == {'a': 1.0, 'b': 1.0}
