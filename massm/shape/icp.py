"""Rigid alignment of surfaces without known correspondences: trimmed iterative closest point."""

import numpy as np
import torch
from scipy.spatial import cKDTree

from massm.shape.alignment import rigid_fit_batched
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
    motions, residuals = trimmed_icp_batched(
        source, target, start[None], normal_weight, keep, steps
    )
    return motions[0], float(residuals[0])


def trimmed_icp_batched(
    source: OrientedPoints,
    target: OrientedPoints,
    starts: np.ndarray,
    normal_weight: float = 0.0,
    keep: float = 0.9,
    steps: int = 30,
) -> tuple[list[RigidTransform], np.ndarray]:
    """:func:`trimmed_icp` from every rotation of ``starts`` ``[S, 3, 3]`` at once.

    Returns:
        The S motions and their residuals ``[S]``.
    """
    points, normals = source.points, source.normals
    rotation = np.array(starts)
    shift = target.points.mean(0) - rotation @ points.mean(0)
    tree, count = cKDTree(target.features(normal_weight)), max(3, int(keep * len(points)))
    residual = np.full(len(starts), np.inf)
    active = np.arange(len(starts))
    for _ in range(steps):
        turned = rotation[active].transpose(0, 2, 1)
        moved = points @ turned + shift[active, None]
        features = np.concatenate([moved, normal_weight * (normals @ turned)], -1)
        distance, match = tree.query(features)
        best = np.argpartition(distance, count - 1, axis=1)[:, :count]
        now = np.sqrt((np.take_along_axis(distance, best, 1) ** 2).mean(1))
        falls = now <= residual[active] * (1 - 1e-4)
        residual[active] = np.where(np.isfinite(residual[active]) & ~falls, residual[active], now)
        active, best, match = active[falls], best[falls], match[falls]
        if len(active) == 0:
            break
        goal = target.points[np.take_along_axis(match, best, 1)]
        turn, step = rigid_fit_batched(torch.as_tensor(points[best]), torch.as_tensor(goal))
        rotation[active], shift[active] = turn.numpy(), step.numpy()
    motions = [RigidTransform.from_parts(r, t) for r, t in zip(rotation, shift, strict=True)]
    return motions, residual
