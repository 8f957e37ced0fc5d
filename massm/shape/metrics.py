"""Errors between predicted and true particles, surfaces and masks."""

import numpy as np


def axis_rmse(predicted: np.ndarray, true: np.ndarray) -> float:
    """RMSE as the paper's code has it: per axis over particles, then the mean of the three axes.

    Args:
        predicted, true: ``[M, 3]``, mm.
    """
    return float(np.sqrt(((predicted - true) ** 2).mean(0)).mean())


def mean_point_error(predicted: np.ndarray, true: np.ndarray) -> float:
    """Mean Euclidean distance between corresponding particles ``[M, 3]``, mm."""
    return float(np.linalg.norm(predicted - true, axis=1).mean())


def dice(predicted: np.ndarray, true: np.ndarray) -> float:
    """Overlap of two boolean masks; 1 where both are empty."""
    total = int(predicted.sum()) + int(true.sum())
    return 2.0 * int((predicted & true).sum()) / total if total else 1.0


def hausdorff95(forward: np.ndarray, backward: np.ndarray) -> float:
    """The larger 95th percentile of two one-way surface distances, mm."""
    return float(max(np.percentile(forward, 95), np.percentile(backward, 95)))
