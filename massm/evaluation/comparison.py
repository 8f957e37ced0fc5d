"""Whether one method is better than another on the same patients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000


@dataclass(frozen=True)
class Summary:
    """Of one measure over ``count`` patients: mean, median, and the 95 % bootstrap interval of the
    mean from ``low`` to ``high``."""

    count: int
    mean: float
    median: float
    low: float
    high: float


def summarise(values: Sequence[float], seed: int = 0) -> Summary | None:
    """One value a patient; None without any."""
    if not len(values):
        return None
    array = np.asarray(values, dtype=np.float64)
    low, high = bootstrap_interval(array, seed=seed)
    return Summary(len(array), float(array.mean()), float(np.median(array)), low, high)


def summarise_anatomies(values: Mapping[str, Mapping[str, float]]) -> Summary | None:
    """One value of each patient for each anatomy that the patient has, by anatomy and patient: the
    mean of the anatomies' means, its interval over patients, and the median of the patients'
    means; None without any."""
    own = {anatomy: cases for anatomy, cases in values.items() if cases}
    if not own:
        return None
    patients = sorted({patient for cases in own.values() for patient in cases})
    grid = np.array([[cases.get(p, np.nan) for p in patients] for cases in own.values()])
    low, high = bootstrap_interval(grid)
    mean = float(np.nanmean(grid, axis=1).mean())
    median = float(np.median(np.nanmean(grid, axis=0)))
    return Summary(len(patients), mean, median, low, high)


def bootstrap_interval(
    values: np.ndarray, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval (Efron 1979) of the mean over the last axis' patients.

    Args:
        values: ``[N]`` or ``[K, N]`` with NaN where a patient lacks an anatomy; of the latter, the
            interval of the mean of the anatomies' means, all anatomies of a patient drawn together.
    """
    table = np.atleast_2d(values)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(table.shape[1], np.full(table.shape[1], 1 / table.shape[1]), resamples)
    known = np.isfinite(table)
    sums = drawn @ np.where(known, table, 0.0).T
    counts = drawn @ known.T.astype(float)
    with np.errstate(invalid='ignore'):
        means = np.nanmean(np.where(counts > 0, sums / counts, np.nan), axis=1)
    low, high = np.nanquantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def paired_p_value(one: Mapping[str, float], other: Mapping[str, float]) -> float | None:
    """Two-sided signed-rank test (Wilcoxon 1945) of the patients that both have.

    Returns:
        The p-value; 1 where all are equal, None where fewer than two patients are shared.
    """
    from scipy.stats import wilcoxon

    shared = sorted(set(one) & set(other))
    if len(shared) < 2:
        return None
    differences = np.array([one[name] - other[name] for name in shared])
    if not differences.any():
        return 1.0
    return float(wilcoxon(differences).pvalue)


def holm(p_values: Mapping[str, float | None]) -> dict[str, float | None]:
    """The p-values corrected for their number (Holm 1979), by the same keys; None stays None."""
    known = sorted((p, name) for name, p in p_values.items() if p is not None)
    corrected: dict[str, float | None] = dict.fromkeys(p_values)
    largest = 0.0
    for rank, (p, name) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        corrected[name] = largest
    return corrected
