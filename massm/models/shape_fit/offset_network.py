"""From what each particle sees to how far it is from its place, and how sure that is."""

import math

import torch
import torch.nn.functional as F
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


class HearingLayer(nn.Module):
    """A linear layer for what a particle says, what its patches say and what all of them say.

    Args:
        num_anatomies, width: K, and channels in and out.
    """

    def __init__(self, num_anatomies: int, width: int) -> None:
        super().__init__()
        self.own = AnatomyLinear(num_anatomies, width, width)
        self.near = AnatomyLinear(num_anatomies, width, width)
        self.all = AnatomyLinear(num_anatomies, width, width)

    def forward(self, x: Tensor, patches: Tensor) -> Tensor:
        """``x`` ``[K, N, M, H]``, ``patches`` ``[K, P, M]`` to ``[K, N, M, H]``."""
        pooled = patches[:, None] @ x
        back = (patches / patches.sum(1, keepdim=True)).transpose(1, 2)
        near = back[:, None] @ self.near(pooled)
        return self.own(x) + near + self.all(pooled.mean(2, keepdim=True))


class OffsetNetwork(nn.Module):
    """What linear filters leave: three layers a particle; in the second and third it also hears
    the patches of the surface that it lies in, and the whole. Starts by saying nothing new.

    Args:
        num_anatomies, num_particles: K and M; each particle has a learnt code.
        inside: what a particle sees.
        hidden: width.
        code: length of the code.
        reach: half the length of the profiles, mm; offsets are in its unit inside.
        leak: slope of the last hidden layer where its input is negative. Without one all of its
            units can fall silent for good (benchmarks/accuracy.md).
    """

    def __init__(
        self,
        num_anatomies: int,
        num_particles: int,
        inside: int,
        hidden: int = 96,
        code: int = 16,
        reach: float = 8.0,
        leak: float = 0.1,
    ) -> None:
        super().__init__()
        self.reach, self.leak = reach, leak
        self.seen = AnatomyLinear(num_anatomies, inside + 1, hidden)
        self.code = nn.Parameter(0.5 * torch.randn(num_anatomies, num_particles, code))
        self.place = AnatomyLinear(num_anatomies, code, hidden)
        self.second = HearingLayer(num_anatomies, hidden)
        self.third = HearingLayer(num_anatomies, hidden)
        self.last = AnatomyLinear(num_anatomies, hidden, 2)
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(2))
        nn.init.zeros_(self.last.weight)

    def forward(
        self,
        seen: Tensor,
        linear: Tensor,
        log_spread: Tensor,
        patches: Tensor,
        particles: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Offsets along the normals and the logarithms of their standard deviations, ``[K, N, M]``
        each, mm.

        Args:
            seen: ``[K, N, M, inside]``.
            linear, log_spread: offsets of linear filters ``[K, N, M]`` and how sure they are
                ``[K, 1, M]``, mm.
            patches: ``[K, P, M]`` weights.
            particles: which of them these are, where they are not all.
        """
        code = self.code if particles is None else self.code[:, particles]
        seen = torch.cat([seen, (linear / self.reach).unsqueeze(-1)], -1)
        x = self.norms[0](torch.relu(self.seen(seen) + self.place(code)[:, None]))
        x = x + self.norms[1](torch.relu(self.second(x, patches)))
        x = F.leaky_relu(self.third(x, patches), self.leak)
        mean, log_std = self.last(x).unbind(-1)
        return linear + self.reach * mean, (log_spread + log_std).clamp(-2.0, 4.0)
