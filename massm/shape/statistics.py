"""Compactness, generalization and specificity (Davies 2002, as ShapeWorks defines them)."""

from typing import Any

import numpy as np

from massm.shape.pdm import PointDistributionModel

# Of a large population so many shapes, evenly chosen, are left out in turn.
MOST_LEFT_OUT = 64


def compactness(model: PointDistributionModel) -> np.ndarray:
    """``[L]`` cumulative share of the variance explained by the first k modes."""
    total = model.variances.sum()
    return np.cumsum(model.variances) / total if total > 0 else np.ones(len(model))


def generalization(world: np.ndarray, most: int = MOST_LEFT_OUT) -> np.ndarray:
    """Leave-one-out reconstruction error per number of modes.

    Args:
        world: ``[N, M, 3]``, mm.
        most: leave out at most so many shapes, evenly chosen, in a large population.

    Returns:
        ``[N - 2]``: entry k-1 is the mean Euclidean particle error (mm) of a shape rebuilt from k
        modes of the others, averaged over the shapes left out.
    """
    modes = len(world) - 2
    if modes < 1:
        return np.zeros(0)
    chosen = _left_out(len(world), most)
    errors = np.zeros((len(chosen), modes))
    for row, left_out in enumerate(chosen):
        model = PointDistributionModel.fit(np.delete(world, left_out, axis=0))
        shape = world[left_out]
        # Shapes that are alike leave fewer modes, or none but the mean; more would add nothing.
        by_mean = np.array([_error(shape - model.mean)])
        found = reconstruction_errors(model, shape) if len(model) else by_mean
        errors[row] = np.pad(found, (0, modes), mode='edge')[:modes]
    return errors.mean(axis=0)


def _left_out(count: int, most: int = MOST_LEFT_OUT) -> np.ndarray:
    """Indices of the shapes of ``count`` that are left out in turn."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).astype(int))


def _error(offsets: np.ndarray) -> float:
    """Mean Euclidean length of ``[M, 3]``."""
    return float(np.linalg.norm(offsets, axis=1).mean())


def reconstruction_errors(model: PointDistributionModel, shape: np.ndarray) -> np.ndarray:
    """``[L]`` mm: mean Euclidean particle error of ``shape`` ``[M, 3]`` rebuilt from the first k
    modes, at k-1."""
    left = shape - model.mean
    scores = np.tensordot(model.modes, left, axes=2)
    errors = np.zeros(len(model))
    for k in range(len(model)):
        left = left - scores[k] * model.modes[k]
        errors[k] = _error(left)
    return errors


def specificity(world: np.ndarray, samples: int = 1000, seed: int = 0) -> np.ndarray:
    """Distance of the model's samples to the nearest training shape, per number of modes.

    Args:
        world: ``[N, M, 3]``, mm.
        samples: drawn per number of modes.

    Returns:
        ``[L]``: mean over the samples of the mean Euclidean particle distance (mm) to the training
        shape that is nearest, of the three nearest in the root mean square.
    """
    model = PointDistributionModel.fit(world)
    draws = np.random.default_rng(seed).standard_normal((samples, len(model)), dtype=np.float32)
    modes = model.modes.reshape(len(model), model.mean.size).astype(np.float32)
    known = (world - model.mean).reshape(len(world), -1).astype(np.float32)
    shapes = np.zeros((samples, known.shape[1]), dtype=np.float32)
    result = np.zeros(len(model))
    for k in range(len(model)):
        shapes += np.outer(draws[:, k] * np.sqrt(model.variances[k]), modes[k])
        result[k] = _nearest_distance(shapes, known).mean()
    return result


def _nearest_distance(shapes: np.ndarray, known: np.ndarray, candidates: int = 3) -> np.ndarray:
    """``[S]`` mean particle distance of ``[S, 3M]`` to the nearest of ``[N, 3M]``, which is looked
    for among the few that are nearest in the root mean square."""
    squares = (known**2).sum(1) - 2 * shapes @ known.T
    order = np.argsort(squares, axis=1)[:, :candidates]
    offsets = (shapes[:, None] - known[order]).reshape(*order.shape, -1, 3)
    return np.sqrt(np.einsum('scmx,scmx->scm', offsets, offsets)).mean(-1).min(1)


def shape_statistics(world: np.ndarray) -> dict[str, Any]:
    """All three of ``world`` ``[N, M, 3]`` (mm) as plain lists, entry k-1 for k modes, and
    ``generalization_shapes``, how many shapes were left out in turn."""
    return {
        'compactness': compactness(PointDistributionModel.fit(world)).tolist(),
        'generalization': generalization(world).tolist(),
        'generalization_shapes': len(_left_out(len(world))) if len(world) > 2 else 0,
        'specificity': specificity(world).tolist(),
    }
