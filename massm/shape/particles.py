"""Choosing and measuring sets of particles."""

import numpy as np
from scipy.spatial import cKDTree

from massm.errors import ShapeError


def farthest_points(points: np.ndarray, count: int) -> np.ndarray:
    """Greedy farthest-point sampling; deterministic.

    Starts at the point farthest from the centroid, so that the choice moves with the shape.

    Args:
        points: ``[N, 3]``, any unit.
        count: how many to choose.

    Returns:
        ``[count]`` indices into ``points``, in the order chosen.

    Raises:
        ShapeError: there are fewer points than asked for.
    """
    if count > len(points):
        raise ShapeError(f'{count} particles asked of a surface with {len(points)} points')
    chosen = np.empty(count, dtype=np.int64)
    distance = np.linalg.norm(points - points.mean(0), axis=1)
    nearest = np.full(len(points), np.inf)
    for i in range(count):
        chosen[i] = int(np.argmax(distance))
        offset = points - points[chosen[i]]
        nearest = np.minimum(nearest, np.einsum('ij,ij->i', offset, offset))
        distance = nearest
    return chosen


def spacing_variation(particles: np.ndarray) -> float:
    """Coefficient of variation of the distance to the nearest neighbour; 0 is perfectly even."""
    distances, _ = cKDTree(particles).query(particles, k=2)
    return float(distances[:, 1].std() / max(distances[:, 1].mean(), 1e-12))
