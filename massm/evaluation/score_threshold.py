"""The score from which each anatomy is said to be there."""

from collections.abc import Sequence
from itertools import chain

import numpy as np

from massm.models.shape_network import DEFAULT_THRESHOLD

# Of the lowest score of what is there: what would not have missed it.
BELOW = 0.9


def best_threshold(present: Sequence[float], absent: Sequence[float]) -> float:
    """The threshold that gets most decisions right, in the middle of the widest gap that does.

    Args:
        present: scores of anatomies that are there.
        absent: scores of anatomies that are not; where there are none, nothing says how high a
            false one scores, and the default stays unless it would miss some.
    """
    if not present:
        return DEFAULT_THRESHOLD
    if not absent:
        return float(min(DEFAULT_THRESHOLD, BELOW * min(present)))
    scores = np.unique([0.0, *present, *absent, 1.0])
    middles, gaps = (scores[1:] + scores[:-1]) / 2, np.diff(scores)
    right = [int(np.sum(np.array(present) >= t) + np.sum(np.array(absent) < t)) for t in middles]
    best = np.flatnonzero(np.array(right) == max(right))
    return float(middles[best[np.argmax(gaps[best])]])


def best_thresholds(
    present: Sequence[Sequence[float]], absent: Sequence[Sequence[float]]
) -> list[float]:
    """:func:`best_threshold` of each anatomy: a network's scores of one and of another are not of
    one scale. One that was never seen there, or never missing, takes that of all together, or a
    lower one that would not miss it.

    Args:
        present: of each anatomy, its scores where it is there.
        absent: of each, its scores where it is not.
    """
    of_all = best_threshold(*(list(chain.from_iterable(scores)) for scores in (present, absent)))
    return [
        best_threshold(there, gone)
        if there and gone
        else min([of_all, *(BELOW * s for s in there)])
        for there, gone in zip(present, absent, strict=True)
    ]
