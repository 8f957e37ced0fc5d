"""Rigid alignment: least squares with known correspondences, trimmed ICP without."""

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from massm.structures import RigidTransform

IDENTITY_START = np.eye(3)[None]


def rigid_fit(source: np.ndarray, target: np.ndarray) -> RigidTransform:
    """The rotation and translation that take ``source`` nearest to ``target`` (Kabsch 1976).

    Args:
        source, target: ``[M, 3]`` corresponding points, mm.
    """
    rotation, translation = rigid_fit_batched(torch.as_tensor(source), torch.as_tensor(target))
    return RigidTransform.from_parts(rotation.numpy(), translation.numpy())


def rigid_fit_batched(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Differentiable Kabsch fit of every pair of point sets.

    Args:
        source, target: ``[..., M, 3]`` corresponding points, one unit.

    Returns:
        ``rotation`` ``[..., 3, 3]`` and ``translation`` ``[..., 3]``: target ~ R source + t. Never
        mirrors.
    """
    source_mean, target_mean = source.mean(-2, keepdim=True), target.mean(-2, keepdim=True)
    covariance = (target - target_mean).transpose(-1, -2) @ (source - source_mean)
    u, _, vh = torch.linalg.svd(covariance)
    sign = torch.linalg.det(u @ vh)
    flip = torch.stack([torch.ones_like(sign), torch.ones_like(sign), sign], -1)
    rotation = (u * flip.unsqueeze(-2)) @ vh
    translation = target_mean - source_mean @ rotation.transpose(-1, -2)
    return rotation, translation.squeeze(-2)


def trimmed_icp(
    source: np.ndarray,
    target: np.ndarray,
    start: np.ndarray,
    keep: float = 0.9,
    steps: int = 30,
) -> tuple[RigidTransform, float]:
    """Iterative closest point on the ``keep`` best matches (Chetverikov et al. 2002).

    Args:
        source, target: ``[N, 3]``, ``[L, 3]`` surface points, mm.
        start: ``[3, 3]`` rotation to begin with, about the centroids.
        keep: share of the matches used in each fit.
        steps: at most so many; stops when the residual no longer falls.

    Returns:
        The motion from ``source`` to ``target`` and the root mean square of the kept distances.
    """
    motion = RigidTransform.from_parts(start, target.mean(0) - start @ source.mean(0))
    tree, count = cKDTree(target), max(3, int(keep * len(source)))
    residual = np.inf
    for _ in range(steps):
        distance, match = tree.query(motion.apply(source))
        best = np.argpartition(distance, count - 1)[:count]
        previous, residual = residual, float(np.sqrt(np.mean(distance[best] ** 2)))
        if residual > previous * (1 - 1e-4):
            break
        motion = rigid_fit(source[best], target[match[best]])
    return motion, residual


def align_surfaces(
    source: np.ndarray, target: np.ndarray, starts: np.ndarray = IDENTITY_START
) -> RigidTransform:
    """The best trimmed ICP over several starting rotations ``[S, 3, 3]``.

    Patients of one dataset share the RAS axes, so their shapes start from the identity alone;
    shapes in any pose need a cover of the rotations.
    """
    fits = [trimmed_icp(source, target, start) for start in starts]
    return min(fits, key=lambda fit: fit[1])[0]
