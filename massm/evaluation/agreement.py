"""Whether the sizes and shape scores that a network tells follow the patients'."""

from collections.abc import Mapping, Sequence

import numpy as np

from massm.shape.pdm import PointDistributionModel
from massm.shape.size_measures import SIZES, size_measures
from massm.structures import Mesh

# Scores along so many leading modes are compared.
MODES = ('mode1_std', 'mode2_std', 'mode3_std')
FOLLOWED = (*SIZES, *MODES)
REFERENCE, CORRELATION = '_reference', '_correlation'
CORRELATIONS = tuple(key + CORRELATION for key in FOLLOWED)
# A row has both of what is told and what is true; no mean of them says anything.
PAIRED = tuple(key + of for key in FOLLOWED for of in ('', REFERENCE))
# A correlation over fewer patients is left to chance.
LEAST_CASES = 8


def paired_sizes(told: Mesh, true: Mesh) -> dict[str, float]:
    """Sizes of a predicted surface and of the reference's (mm)."""
    return _paired(size_measures(told), size_measures(true))


def paired_scores(
    model: PointDistributionModel, told: np.ndarray, true: np.ndarray
) -> dict[str, float]:
    """Scores of world particles ``[M, 3]`` along the leading modes, in standard deviations."""
    scores = (dict(zip(MODES, model.coefficients(x), strict=False)) for x in (told, true))
    return _paired(*scores)


def correlations(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of one anatomy's ``rows``: Pearson's correlation over patients of what is told with what is
    true, of each measure that eight patients or more have and that differs among them."""
    found = {}
    for key in FOLLOWED:
        pairs = [(r[key], r[key + REFERENCE]) for r in rows if key in r]
        told, true = np.array(pairs, dtype=float).reshape(-1, 2).T
        if len(pairs) >= LEAST_CASES and np.ptp(told) > 0 and np.ptp(true) > 0:
            found[key + CORRELATION] = float(np.corrcoef(told, true)[0, 1])
    return found


def _paired(told: dict[str, float], true: dict[str, float]) -> dict[str, float]:
    known = told | {key + REFERENCE: value for key, value in true.items()}
    return {key: float(value) for key, value in known.items()}
