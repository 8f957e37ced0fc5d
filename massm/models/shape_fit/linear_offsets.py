"""Every particle's own linear filter: what it sees along its normal says how far it is off.

Fitted in closed form, round after round (supervised descent, Xiong & De la Torre 2013; see
:mod:`massm.engine.shape_filter_training`): in a few minutes better than networks that are trained
for an hour (benchmarks/accuracy.md).
"""

import math

import torch
from torch import Tensor, nn

from massm.models.shape_fit.posterior import Offsets

# Standard deviation of a particle that nobody taught, mm: it has no say.
NO_SAY = 1e3
# Of its logarithm in a model directory of eight bits.
ROUNDING = 0.1
# Until filters are fitted: neighbours err alike.
USUAL_INDEPENDENCE = 0.15


class LinearOffsets(nn.Module):
    """Buffers of one round: ``weight`` ``[K, M, F + 1]`` (mm; the last is the constant),
    ``log_spread`` ``[K, M]``, logarithm of the standard deviation of what it leaves (mm), and
    ``independence`` ``[K]``, the share of an anatomy's particles that count as independent
    measurements.

    Until they are fitted, every particle may be a third of the profile off, anywhere.

    Args:
        num_anatomies, num_particles: K and M.
        inside: F, numbers that a particle sees.
        reach: of the round's profiles, mm.
    """

    def __init__(self, num_anatomies: int, num_particles: int, inside: int, reach: float) -> None:
        super().__init__()
        shape = (num_anatomies, num_particles)
        self.reach = reach
        self.register_buffer('weight', torch.zeros(*shape, inside + 1))
        self.register_buffer('log_spread', torch.zeros(shape))
        self.register_buffer('independence', torch.zeros(num_anatomies))
        self.forget()

    @property
    def is_fitted(self) -> bool:
        """Whether filters were fitted or came with a checkpoint."""
        return bool(self.weight.any())

    @property
    def has_say(self) -> Tensor:
        """``[K, M]`` bool: which particles somebody taught."""
        return self.log_spread < math.log(NO_SAY) - ROUNDING

    def forget(self) -> None:
        """Back to what is said before anything was fitted."""
        self.weight.zero_()
        self.log_spread.fill_(math.log(self.reach / 3))
        self.independence.fill_(USUAL_INDEPENDENCE)

    def forward(self, seen: Tensor, visible: Tensor) -> Offsets:
        """What ``seen`` ``[K, N, M, F]`` says; nothing where a particle is not ``visible``
        ``[K, N, M]``."""
        return Offsets(linear_offsets(self.weight, seen), self.precision(visible))

    def precision(self, visible: Tensor, independence: Tensor | None = None) -> Tensor:
        """``[K, N, M]`` mm⁻² of the offsets, by this ``independence`` ``[K]`` or the round's."""
        share = self.independence if independence is None else independence
        return (share[:, None] * torch.exp(-2 * self.log_spread)).unsqueeze(1) * visible


def linear_offsets(weight: Tensor, seen: Tensor) -> Tensor:
    """``[K, M, F + 1]`` filters at ``[K, N, M, F]`` to ``[K, N, M]`` offsets, mm."""
    return torch.einsum('knmf,kmf->knm', seen, weight[..., :-1]) + weight[:, None, :, -1]
