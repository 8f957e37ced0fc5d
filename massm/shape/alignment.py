"""Rigid alignment of corresponding points: least squares."""

import numpy as np
import torch
from torch import Tensor

from massm.structures import RigidTransform


def rigid_fit(source: np.ndarray, target: np.ndarray) -> RigidTransform:
    """The rotation and translation that take ``source`` nearest to ``target`` (Kabsch 1976).

    Args:
        source, target: ``[M, 3]`` corresponding points, mm.
    """
    rotation, translation = rigid_fit_batched(torch.tensor(source), torch.tensor(target))
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


def rigidly_onto(source: Tensor, target: Tensor) -> Tensor:
    """``source`` ``[..., M, 3]`` rotated and translated as near to ``target`` as it comes."""
    rotation, translation = rigid_fit_batched(source, target.expand_as(source))
    return source @ rotation.transpose(-1, -2) + translation.unsqueeze(-2)
