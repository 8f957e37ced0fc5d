"""New shapes from a shape model: of its Gaussian, or about those that were seen."""

import numpy as np

from massm.shape.pdm import PointDistributionModel
from massm.shape.statistics import compactness

KINDS = ('kde', 'gaussian')
# Of all variance, what the modes that are drawn hold; the rest is noise of the correspondences.
KEPT_VARIANCE = 0.95
# Standard deviations. Beyond this a Gaussian's shapes are none that were ever seen.
FARTHEST = 2.5


def leading_modes(
    shapes: PointDistributionModel, share: float = KEPT_VARIANCE
) -> PointDistributionModel:
    """The model of those first modes that hold a ``share`` of the variance."""
    return shapes.truncate(int((compactness(shapes) < share).sum()) + 1)


def draw_coefficients(
    known: np.ndarray, kind: str, spread: float, rng: np.random.Generator
) -> np.ndarray:
    """New coefficients ``[L]`` (standard deviations).

    Args:
        known: ``[L]`` of the shape to draw about.
        kind: ``kde`` adds ``spread`` and shrinks toward the mean by as much as keeps the
            population's variance (smoothed bootstrap, Silverman and Young 1987); ``gaussian``
            draws from the model and forgets ``known``.
    """
    noise = np.clip(rng.standard_normal(len(known)), -FARTHEST, FARTHEST)
    if kind == 'gaussian':
        return noise
    return (known + spread * noise) / np.sqrt(1 + spread**2)


def kde_spread(coefficients: np.ndarray) -> float:
    """The spread that suits a population of ``[N, L]`` coefficients: as far as its members lie from
    their nearest neighbour, root mean square over modes, as DeepSSM's authors choose it."""
    if len(coefficients) < 2:
        return 1.0
    distances = np.linalg.norm(coefficients[:, None] - coefficients[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    return float(distances.min(1).mean() / np.sqrt(coefficients.shape[1]))
