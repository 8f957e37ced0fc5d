"""Mean and covariance of rows in which values are missing."""

import numpy as np


def fit_incomplete_gaussian(
    rows: np.ndarray,
    std: float,
    strength: float,
    nuisance: np.ndarray | None = None,
    steps: int = 60,
) -> tuple[np.ndarray, np.ndarray]:
    """Expectation maximisation (Dempster et al. 1977) with an inverse Wishart prior.

    Args:
        rows: ``[S, D]``, NaN where a value is missing.
        std: of every value before a row is seen, in its unit.
        strength: rows that this is worth.
        nuisance: ``[D, D]`` covariance of what is added to each row and is not to be described.

    Returns:
        ``[D]`` and ``[D, D]``, float64. A value that no row has gets mean zero.
    """
    rows = np.asarray(rows, dtype=np.float64)
    seen = np.isfinite(rows)
    count = seen.sum(0)
    mean = np.where(count > 0, np.nansum(rows, 0) / np.maximum(count, 1), 0.0)
    expected = std**2 * np.eye(rows.shape[1])
    covariance = expected.copy()
    added = np.zeros_like(expected) if nuisance is None else nuisance
    for _ in range(steps):
        away, uncertainty = _expectations(rows, seen, mean, covariance, added)
        shift = away.mean(0)
        mean = mean + np.where(count > 0, shift, 0.0)
        away = away - shift
        total = away.T @ away + uncertainty + strength * expected
        covariance = total / (len(rows) + strength)
    return mean, covariance


def _expectations(
    rows: np.ndarray,
    seen: np.ndarray,
    mean: np.ndarray,
    covariance: np.ndarray,
    nuisance: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Expected distance of each complete row from the mean, without the nuisance, and the sum of
    its covariances."""
    away = np.zeros_like(rows)
    uncertainty = np.zeros_like(covariance)
    patterns, which = np.unique(seen, axis=0, return_inverse=True)
    for i, there in enumerate(patterns):
        members = np.flatnonzero(which.ravel() == i)
        observed = (covariance + nuisance)[np.ix_(there, there)]
        gain = np.linalg.solve(observed, covariance[there])
        away[members] = (rows[np.ix_(members, there)] - mean[there]) @ gain
        uncertainty += len(members) * (covariance - covariance[:, there] @ gain)
    return away, uncertainty
