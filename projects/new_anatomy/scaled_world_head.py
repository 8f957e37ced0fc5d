"""A world head of one's own: the rigid fit, then one learnt scale per anatomy."""

import torch
from torch import Tensor, nn

from massm.models import ProcrustesWorldHead
from massm.registry import MODELS


@MODELS.register_module()
class ScaledWorldHead(ProcrustesWorldHead):
    """Corrects a systematic under- or overestimate of size.

    Args:
        num_particles, num_anatomies: filled in by the model.
        loss: loss config; error in voxels.
    """

    def __init__(self, num_particles: int, num_anatomies: int, loss: dict | None = None) -> None:
        super().__init__(num_particles, num_anatomies, loss)
        self.log_scale = nn.Parameter(torch.zeros(num_anatomies, 1, 1))

    def forward(self, local_mm: Tensor, template_world: Tensor) -> Tensor:
        """``[B, K, M, 3]`` local to world particles, mm."""
        return super().forward(local_mm, template_world) * self.log_scale.exp()
