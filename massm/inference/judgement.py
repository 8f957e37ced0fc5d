"""Whether what the network found can be relied on, in a word and a sentence."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from massm.structures import AnatomyStatus

# More particles outside than this: the anatomy is cut, not only touched, by the field of view.
OUTSIDE_SHARE = 0.02
# A score above the threshold by less than this share of it, or of what is left to 1 where that is
# less, is a doubtful one.
LOW_SCORE = 0.1
# Standard deviations from the mean, along any of the modes that carry 95 % of the variance, beyond
# which a shape is unlike all that the model was trained on.
UNUSUAL = 4.0


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """Of a fit: the standard deviation of each particle along the surface's normal ``[M]``, and up
    to which mean it is usual (95 % of the validation shapes were surer), mm."""

    particles_mm: np.ndarray
    usual_mm: float

    @property
    def is_unusual(self) -> bool:
        """Whether the shape is less sure than validation shapes were."""
        return float(self.particles_mm.mean()) > self.usual_mm

    def at(self, particles: np.ndarray, vertices: np.ndarray) -> np.ndarray:
        """``[V]`` mm at ``vertices`` ``[V, 3]`` of the surface: their nearest of the ``particles``
        ``[M, 3]``."""
        _, nearest = cKDTree(particles).query(vertices)
        return self.particles_mm[nearest]


def judge(
    score: float,
    threshold: float,
    seen: np.ndarray,
    z_scores: np.ndarray | None,
    uncertainty: Uncertainty | None = None,
) -> tuple[AnatomyStatus, str]:
    """The status of an anatomy and why; of one that is cut the other doubts, too.

    Args:
        score: that it is there; ``threshold`` the lowest that says so.
        seen: ``[M]`` particles inside the field of view.
        z_scores: along the leading modes, if the population is known.
        uncertainty: if the network says how sure it is.
    """
    if score < threshold:
        return AnatomyStatus.ABSENT, f'score {score:.2f} is below {threshold:.2f}'
    doubts = '; '.join(_doubts(score, threshold, z_scores, uncertainty))
    outside = 1 - float(np.mean(seen))
    if outside > OUTSIDE_SHARE:
        cut = f'{100 * outside:.0f} % outside the field of view: extrapolated there'
        return AnatomyStatus.TRUNCATED, f'{cut}; {doubts}' if doubts else cut
    return (AnatomyStatus.LOW_CONFIDENCE if doubts else AnatomyStatus.OK), doubts


def _doubts(
    score: float, threshold: float, z_scores: np.ndarray | None, uncertainty: Uncertainty | None
) -> Iterator[str]:
    """Each reason not to rely on what was found."""
    if score < min((1 + LOW_SCORE) * threshold, threshold + LOW_SCORE * (1 - threshold)):
        yield f'score {score:.2f} is barely above {threshold:.2f}'
    if uncertainty is not None and uncertainty.is_unusual:
        told, usual = _apart(float(uncertainty.particles_mm.mean()), uncertainty.usual_mm)
        yield f'the surface is uncertain by {told} mm, usual is up to {usual} mm'
    if z_scores is not None and len(z_scores) and np.abs(z_scores).max() > UNUSUAL:
        mode = int(np.abs(z_scores).argmax())
        yield (
            f'{abs(z_scores[mode]):.1f} standard deviations from the training mean along mode '
            f'{mode + 1}'
        )


def _apart(a: float, b: float) -> tuple[str, str]:
    """Two lengths with a decimal, with two where one does not tell them apart."""
    digits = 1 if f'{a:.1f}' != f'{b:.1f}' else 2
    return f'{a:.{digits}f}', f'{b:.{digits}f}'
