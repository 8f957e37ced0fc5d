"""Whether what a model says of shapes and sizes follows the patients, by its test."""

from typing import Any

import numpy as np

from massm.evaluation.agreement import CORRELATION, MODES
from massm.shape.size_measures import SIZES

# Correlation over patients of what is told with what is true. Below it less than a quarter of how
# patients differ is told, and whoever the patient is looks average.
LEAST_CORRELATION = 0.5


def blind_scores(metrics: dict[str, Any] | None) -> list[str]:
    """Anatomies whose shape scores are not to be read: their tested world error is not below the
    mean shape's, or scores along the leading modes hardly follow the patients'.

    Args:
        metrics: as in ``metrics.json``; None where the model was not tested.
    """
    anatomies = metrics['anatomies'] if metrics else {}
    return [name for name, values in anatomies.items() if _is_blind(values)]


def blind_sizes(metrics: dict[str, Any] | None, anatomy: str) -> list[str]:
    """Those of the :data:`massm.shape.size_measures.SIZES` of an ``anatomy`` that hardly follow the
    patients'; of a model that was not tested, or on too few patients, nothing is known."""
    values = metrics['anatomies'].get(anatomy, {}) if metrics else {}
    known = {size: values.get(size + CORRELATION) for size in SIZES}
    return [size for size, r in known.items() if r is not None and r < LEAST_CORRELATION]


def _is_blind(values: dict[str, float | None]) -> bool:
    error, yardstick = values.get('world_rmse_mm'), values.get('world_rmse_mm_mean_shape')
    if error is not None and yardstick is not None and error >= yardstick:
        return True
    told = [r for mode in MODES if (r := values.get(mode + CORRELATION)) is not None]
    return bool(told) and float(np.mean(told)) < LEAST_CORRELATION
