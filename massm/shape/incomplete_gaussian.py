"""Mean and covariance of rows in which values are missing."""

import numpy as np


def fit_incomplete_gaussian(
    rows: np.ndarray, std: float, strength: float, steps: int = 60
) -> tuple[np.ndarray, np.ndarray]:
    """Expectation maximisation (Dempster et al. 1977) with an inverse Wishart prior.

    Args:
        rows: ``[S, D]``, NaN where a value is missing.
        std: of every value before a row is seen, in its unit.
        strength: rows that this is worth.

    Returns:
        ``[D]`` and ``[D, D]``, float64. A value that no row has gets mean zero.
    """
    rows = np.asarray(rows, dtype=np.float64)
    seen = np.isfinite(rows)
    count = seen.sum(0)
    mean = np.where(count > 0, np.nansum(rows, 0) / np.maximum(count, 1), 0.0)
    expected = std**2 * np.eye(rows.shape[1])
    covariance = expected.copy()
    for _ in range(steps):
        completed, uncertainty = _complete(rows, seen, mean, covariance)
        mean = completed.mean(0)
        away = completed - mean
        total = away.T @ away + uncertainty + strength * expected
        covariance = total / (len(rows) + strength)
    return mean, covariance


def _complete(
    rows: np.ndarray, seen: np.ndarray, mean: np.ndarray, covariance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rows with expectations for what is missing, and the sum of their covariances."""
    completed = np.where(seen, rows, 0.0)
    uncertainty = np.zeros_like(covariance)
    patterns, which = np.unique(seen, axis=0, return_inverse=True)
    for i, there in enumerate(patterns):
        gone = ~there
        if not gone.any():
            continue
        members = np.flatnonzero(which.ravel() == i)
        gain = np.linalg.solve(covariance[np.ix_(there, there)], covariance[np.ix_(there, gone)])
        away = rows[np.ix_(members, there)] - mean[there]
        completed[np.ix_(members, gone)] = mean[gone] + away @ gain
        left = covariance[np.ix_(gone, gone)] - covariance[np.ix_(gone, there)] @ gain
        uncertainty[np.ix_(gone, gone)] += len(members) * left
    return completed, uncertainty
