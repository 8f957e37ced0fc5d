import pytest

from massm.evaluation.score_threshold import best_threshold, best_thresholds


def test_the_middle_of_the_gap_that_parts_them():
    assert best_threshold([0.5, 0.7, 0.9], [0.1, 0.3]) == pytest.approx(0.4)


def test_one_false_score_above_all_does_not_cost_the_true_ones():
    assert best_threshold([0.46, 0.5, 0.6], [0.2, 0.35, 0.65]) == pytest.approx(0.405)


def test_without_absent_ones_the_default_stays_unless_it_would_miss_some():
    assert best_threshold([0.5, 0.8], []) == 0.3
    assert best_threshold([0.2, 0.8], []) == pytest.approx(0.18)
    assert best_threshold([], [0.4]) == 0.3


def test_each_anatomy_has_its_own_or_that_of_all():
    present, absent = [[0.5, 0.6], [0.9], [], [0.4], [0.2]], [[0.3], [0.8], [0.1], [], []]
    apart = best_thresholds(present, absent)
    assert apart[:2] == pytest.approx([0.4, 0.85]), 'no one threshold parts both'
    of_all = best_threshold([0.5, 0.6, 0.9, 0.4, 0.2], [0.3, 0.8, 0.1])
    assert apart[2] == apart[3] == of_all, 'never there, never missing'
    assert apart[4] == pytest.approx(0.18) and of_all > 0.18, 'which it would miss'
    assert best_thresholds([[0.9], [0.5]], [[], []]) == [0.3, 0.3], 'nothing was missing'
    assert best_thresholds([[], []], [[0.4], []]) == [0.3, 0.3]
