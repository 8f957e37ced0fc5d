"""Rigid alignment of surfaces without known correspondences: trimmed iterative closest point."""

import numpy as np
from scipy.spatial import cKDTree

from massm.shape.alignment import rigid_fit
from massm.shape.oriented_points import OrientedPoints
from massm.structures import RigidTransform


def trimmed_icp(
    source: OrientedPoints,
    target: OrientedPoints,
    start: np.ndarray,
    normal_weight: float = 0.0,
    keep: float = 0.9,
    steps: int = 30,
) -> tuple[RigidTransform, float]:
    """Iterative closest point on the ``keep`` best matches (Chetverikov et al. 2002).

    Args:
        source, target: surface samples, mm.
        start: ``[3, 3]`` rotation to begin with, about the centroids.
        normal_weight: how much a match must agree in normal, mm (see ``OrientedPoints.features``).
        keep: share of the matches used in each fit.
        steps: at most so many; stops when the residual no longer falls.

    Returns:
        The motion from ``source`` to ``target`` and the root mean square of the kept distances.
    """
    motion = RigidTransform.from_parts(start, target.points.mean(0) - start @ source.points.mean(0))
    tree, count = cKDTree(target.features(normal_weight)), max(3, int(keep * len(source.points)))
    residual = np.inf
    for _ in range(steps):
        distance, match = tree.query(source.moved(motion).features(normal_weight))
        best = np.argpartition(distance, count - 1)[:count]
        previous, residual = residual, float(np.sqrt(np.mean(distance[best] ** 2)))
        if residual > previous * (1 - 1e-4):
            break
        motion = rigid_fit(source.points[best], target.points[match[best]])
    return motion, residual
