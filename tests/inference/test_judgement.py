import numpy as np
import pytest

from massm.inference.judgement import Uncertainty, judge
from massm.structures import AnatomyStatus

SEEN = np.ones(10, bool)


def test_an_uncertain_surface_is_of_low_confidence_in_millimetres():
    sure, unsure = (Uncertainty(np.full(10, mm), usual_mm=3.0) for mm in (2.0, 4.5))
    assert judge(0.9, 0.3, SEEN, None, sure) == (AnatomyStatus.OK, '')
    status, reason = judge(0.9, 0.3, SEEN, None, unsure)
    assert status is AnatomyStatus.LOW_CONFIDENCE
    assert reason == 'the surface is uncertain by 4.5 mm, usual is up to 3.0 mm'
    # Where part of it is not seen, that says more.
    status, reason = judge(0.31, 0.3, np.arange(10) > 3, np.array([0.0, 5.2]), unsure)
    assert status is AnatomyStatus.TRUNCATED and reason == (
        '40 % outside the field of view: extrapolated there; score 0.31 is barely above 0.30; the '
        'surface is uncertain by 4.5 mm, usual is up to 3.0 mm; 5.2 standard deviations from the '
        'training mean along mode 2'
    )
    barely = Uncertainty(np.full(10, 3.04), usual_mm=3.0)
    assert judge(0.9, 0.3, SEEN, None, barely)[1].endswith('by 3.04 mm, usual is up to 3.00 mm')
    assert judge(0.1, 0.3, SEEN, None, unsure)[0] is AnatomyStatus.ABSENT


def test_vertices_are_as_uncertain_as_their_nearest_particles():
    uncertainty = Uncertainty(np.array([1.0, 5.0]), usual_mm=np.inf)
    particles = np.array([[0.0, 0, 0], [10, 0, 0]])
    vertices = np.array([[1.0, 0, 0], [9, 1, 0], [4, 0, 0]])
    assert uncertainty.at(particles, vertices).tolist() == [1.0, 5.0, 1.0]


@pytest.mark.parametrize(
    ('threshold', 'doubtful', 'sure'),
    [(0.3, 0.329, 0.331), (0.5, 0.549, 0.551), (0.8, 0.819, 0.821), (0.95, 0.954, 0.956)],
)
def test_a_score_barely_above_the_threshold_is_of_low_confidence_and_one_of_1_never(
    threshold, doubtful, sure
):
    assert judge(doubtful, threshold, SEEN, None)[0] is AnatomyStatus.LOW_CONFIDENCE
    assert judge(sure, threshold, SEEN, None)[0] is AnatomyStatus.OK
    assert judge(1.0, threshold, SEEN, None)[0] is AnatomyStatus.OK
