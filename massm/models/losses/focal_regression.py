"""Focal regression: hard errors count, easy ones fade (the shrinkage loss of Lu et al. 2018)."""

import torch
from torch import Tensor, nn

from massm.models.losses.reduce import mean_count
from massm.registry import MODELS


def focal_regression(error: Tensor, a: float = 10.0, c: float = 0.2) -> Tensor:
    """``error² / (1 + exp(a (c - |error|)))`` (MASSM's L_o, L_l, L_w).

    Args:
        error: signed error, voxels, any shape.
        a, c: slope and centre of the sigmoid gate; a=0 gives half the squared error.

    Returns:
        Per-element loss, shape of ``error``.
    """
    return error.square() * torch.sigmoid(a * (error.abs() - c))


def masked_mean(loss: Tensor, mask: Tensor) -> Tensor:
    """Mean over the rows where ``mask`` is set, over all ranks; zero where none is.

    Args:
        loss: ``[B, K, ...]``.
        mask: ``[B, K]`` bool.
    """
    per_row = loss.flatten(2).mean(2)
    total = torch.where(mask, per_row, torch.zeros_like(per_row)).sum()
    return total / mean_count(mask.sum())


@MODELS.register_module()
class FocalRegressionLoss(nn.Module):
    """Masked mean of :func:`focal_regression`.

    Args:
        a, c: slope and centre (voxels) of the gate.
    """

    def __init__(self, a: float = 10.0, c: float = 0.2) -> None:
        super().__init__()
        self.a, self.c = a, c

    def forward(self, predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        """``[B, K, ..., 3]`` predictions and targets (voxels), ``[B, K]`` mask; scalar loss."""
        wide = mask.view(*mask.shape, *[1] * (predicted.dim() - 2))
        error = torch.where(wide, predicted.float() - target, torch.zeros_like(target))
        return masked_mean(focal_regression(error, self.a, self.c), mask)
