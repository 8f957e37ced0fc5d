"""The heat map's loss: penalty-reduced focal loss (Law & Deng 2018, Zhou et al. 2019)."""

import torch
from torch import Tensor, nn

from massm.models.losses.reduce import mean_count
from massm.registry import MODELS


def heatmap_focal(
    logits: Tensor, target: Tensor, mask: Tensor, alpha: float = 3.0, beta: float = 4.0
) -> Tensor:
    """Element-wise penalty-reduced focal loss (MASSM's L_h, with the printed cases put right).

    ``-(1-p)^a log p`` where the target is 1, ``-(1-H)^b p^a log(1-p)`` elsewhere, p = sigmoid.

    Args:
        logits: ``[B, K, X, Y, Z]``.
        target: the same shape, in [0, 1], a peak exactly 1.
        mask: broadcastable bool; false cells count nothing.

    Returns:
        ``[B, K, X, Y, Z]``, zero where masked.
    """
    p = logits.sigmoid()
    log_p = torch.nn.functional.logsigmoid(logits)
    log_not_p = torch.nn.functional.logsigmoid(-logits)
    positive = -((1 - p) ** alpha) * log_p
    negative = -((1 - target) ** beta) * p**alpha * log_not_p
    loss = torch.where(target == 1, positive, negative)
    return torch.where(mask, loss, torch.zeros_like(loss))


@MODELS.register_module()
class HeatmapFocalLoss(nn.Module):
    """Sum of :func:`heatmap_focal` over the number of peaks (at least 1), over all ranks.

    Args:
        alpha, beta: exponents of confidence and of distance to the peak.
    """

    def __init__(self, alpha: float = 3.0, beta: float = 4.0) -> None:
        super().__init__()
        self.alpha, self.beta = alpha, beta

    def forward(self, logits: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        """Scalar loss; arguments as :func:`heatmap_focal`."""
        loss = heatmap_focal(logits.float(), target, mask, self.alpha, self.beta)
        peaks = ((target == 1) & mask).sum()
        return loss.sum() / mean_count(peaks)
