"""Compactness, generalization and specificity (Davies 2002, as ShapeWorks defines them)."""

import numpy as np

from massm.shape.pdm import PointDistributionModel


def compactness(model: PointDistributionModel) -> np.ndarray:
    """``[L]`` cumulative share of the variance explained by the first k modes."""
    total = model.variances.sum()
    return np.cumsum(model.variances) / total if total > 0 else np.ones(len(model))


def generalization(world: np.ndarray) -> np.ndarray:
    """Leave-one-out reconstruction error per number of modes.

    Args:
        world: ``[N, M, 3]``, mm.

    Returns:
        ``[N - 2]``: entry k-1 is the mean Euclidean particle error (mm) of a shape rebuilt from k
        modes of the others, averaged over the shapes.
    """
    modes = len(world) - 2
    if modes < 1:
        return np.zeros(0)
    errors = np.zeros((len(world), modes))
    for left_out, shape in enumerate(world):
        model = PointDistributionModel.fit(np.delete(world, left_out, axis=0))
        for k in range(1, modes + 1):
            rebuilt = model.truncate(k).project(shape)
            errors[left_out, k - 1] = np.linalg.norm(rebuilt - shape, axis=1).mean()
    return errors.mean(0)


def specificity(world: np.ndarray, samples: int = 200, seed: int = 0) -> np.ndarray:
    """Distance of the model's samples to the nearest training shape, per number of modes.

    Args:
        world: ``[N, M, 3]``, mm.
        samples: drawn per number of modes.

    Returns:
        ``[L]``: mean over the samples of the mean Euclidean particle distance (mm) to the training
        shape that is nearest.
    """
    model = PointDistributionModel.fit(world)
    generator = np.random.default_rng(seed)
    draws = generator.standard_normal((samples, len(model)))
    result = np.zeros(len(model))
    for k in range(1, len(model) + 1):
        shapes = model.truncate(k).instance(draws[:, :k])
        distances = [np.linalg.norm(shapes - other, axis=-1).mean(-1) for other in world]
        result[k - 1] = np.min(distances, axis=0).mean()
    return result


def shape_statistics(world: np.ndarray) -> dict[str, list[float]]:
    """All three of ``world`` ``[N, M, 3]`` (mm) as plain lists; entry k-1 is for k modes."""
    return {
        'compactness': compactness(PointDistributionModel.fit(world)).tolist(),
        'generalization': generalization(world).tolist(),
        'specificity': specificity(world).tolist(),
    }
