import numpy as np

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
    assert judge(0.9, 0.3, np.arange(10) > 3, None, unsure)[0] is AnatomyStatus.TRUNCATED
    assert judge(0.1, 0.3, SEEN, None, unsure)[0] is AnatomyStatus.ABSENT


def test_vertices_are_as_uncertain_as_their_nearest_particles():
    uncertainty = Uncertainty(np.array([1.0, 5.0]), usual_mm=np.inf)
    particles = np.array([[0.0, 0, 0], [10, 0, 0]])
    vertices = np.array([[1.0, 0, 0], [9, 1, 0], [4, 0, 0]])
    assert uncertainty.at(particles, vertices).tolist() == [1.0, 5.0, 1.0]
