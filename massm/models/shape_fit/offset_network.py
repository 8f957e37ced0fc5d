"""From what each particle sees to how far it is from its place, and how sure that is."""

import math

import torch
from torch import Tensor, nn


class AnatomyLinear(nn.Module):
    """A linear layer for each of K anatomies: ``[K, ..., inside]`` to ``[K, ..., outside]``."""

    def __init__(self, num_anatomies: int, inside: int, outside: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inside)
        self.weight = nn.Parameter(
            torch.empty(num_anatomies, inside, outside).uniform_(-bound, bound)
        )
        self.bias = nn.Parameter(torch.zeros(num_anatomies, 1, outside))

    def forward(self, x: Tensor) -> Tensor:
        """One batched product."""
        out = torch.baddbmm(self.bias, x.flatten(1, -2), self.weight)
        return out.unflatten(1, x.shape[1:-1])


class OffsetNetwork(nn.Module):
    """Three layers a particle; after the first two it also hears the patches of the
    surface that it lies in, and the whole.

    Starts by saying that every particle may be ``reach / 3`` off, anywhere.

    Args:
        num_anatomies, num_particles: K and M; each particle has a learnt code.
        inside: what a particle sees.
        hidden: width.
        code: length of the code.
        reach: half the length of the profiles, mm; offsets are in its unit inside.
    """

    def __init__(
        self,
        num_anatomies: int,
        num_particles: int,
        inside: int,
        hidden: int = 96,
        code: int = 16,
        reach: float = 8.0,
    ) -> None:
        super().__init__()
        self.reach = reach
        self.code = nn.Parameter(0.5 * torch.randn(num_anatomies, num_particles, code))
        self.first = AnatomyLinear(num_anatomies, inside + code, hidden)
        self.second = AnatomyLinear(num_anatomies, 3 * hidden, hidden)
        self.third = AnatomyLinear(num_anatomies, 3 * hidden, hidden)
        self.last = AnatomyLinear(num_anatomies, hidden, 6)
        self.norm = nn.LayerNorm(hidden)
        self.norm2 = nn.LayerNorm(hidden)
        nn.init.zeros_(self.last.weight)
        nn.init.constant_(self.last.bias[..., 3:], math.log(1 / 3))

    def forward(self, seen: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Offsets and the logarithms of their standard deviations, each ``[K, N, M, 3]`` mm.

        Args:
            seen: ``[K, N, M, inside]``.
            patches: ``[K, P, M]`` weights.
        """
        code = self.code[:, None].expand(-1, seen.shape[1], -1, -1)
        x = self.norm(torch.relu(self.first(torch.cat([seen, code], -1))))
        x = x + self.norm2(torch.relu(self.second(_heard(x, patches))))
        x = torch.relu(self.third(_heard(x, patches)))
        mean, log_std = self.last(x).split(3, -1)
        return self.reach * mean, (log_std + math.log(self.reach)).clamp(-2.0, 4.0)


def _heard(x: Tensor, patches: Tensor) -> Tensor:
    """``x`` ``[K, N, M, H]`` beside its mean over each particle's patches and over all."""
    pooled = patches[:, None] @ x
    back = (patches / patches.sum(1, keepdim=True)).transpose(1, 2)
    near = back[:, None] @ pooled
    return torch.cat([x, near, x.mean(2, keepdim=True).expand_as(x)], -1)
