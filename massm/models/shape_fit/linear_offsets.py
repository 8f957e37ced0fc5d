"""Every particle's own linear filter: what intensities along its normal say of its offset.

Fitted in closed form, round after round, before the network learns what is left (supervised
descent, Xiong & De la Torre 2013): in a few minutes, without a step of training, nearer than the
network alone was after as many of training (benchmarks/accuracy.md).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.dist import all_reduce
from torch import Tensor, nn

# No particle is surer than this, mm.
LEAST_SPREAD = 0.1
# Fits whose products are summed together: one by one, memory is moved for each.
ROWS_AT_ONCE = 48


class LinearOffsets(nn.Module):
    """Buffers of R rounds: ``weight`` ``[R, K, M, F + 1]`` (mm; the last is the constant) and
    ``log_spread`` ``[R, K, M]``, logarithm of the standard deviation of what it leaves (mm); for
    training ``without`` ``[R, K, 2, M, F + 1]``, the filters fitted without each fold of subjects:
    the networks must not learn from filters that know the subject.

    Until they are fitted, every particle may be a third of the profile off, anywhere.

    Args:
        num_anatomies, num_particles: K and M.
        inside: F, intensities that a particle sees.
        reaches: of each round's profiles, mm.
    """

    def __init__(
        self, num_anatomies: int, num_particles: int, inside: int, reaches: Sequence[float]
    ) -> None:
        super().__init__()
        shape = (len(reaches), num_anatomies, num_particles)
        self.reaches = list(reaches)
        self.register_buffer('weight', torch.zeros(*shape, inside + 1))
        self.register_buffer('log_spread', torch.zeros(shape))
        self.register_buffer('without', None)
        self.forget()

    @property
    def is_fitted(self) -> bool:
        """Whether filters were fitted or came with a checkpoint."""
        return bool(self.weight.any())

    def forget(self) -> None:
        """Back to what is said before anything was fitted."""
        self.weight.zero_()
        self.without = None
        for r, reach in enumerate(self.reaches):
            self.log_spread[r] = math.log(reach / 3)

    def take(self, r: int, anatomies: slice, filters: 'Filters') -> None:
        """Keeps what was fitted for round ``r``, where there were subjects."""
        if self.without is None:
            count, inside = self.weight.shape[1], self.weight.shape[2:]
            self.without = self.weight.new_zeros(len(self.weight), count, 2, *inside)
        self.weight[r, anatomies] = filters.weight
        self.without[r, anatomies] = filters.without
        known = filters.spread.isfinite().all(1)
        self.log_spread[r, anatomies][known] = filters.spread[known].log()

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any) -> None:
        if prefix + 'without' in state_dict:  # a checkpoint of training
            self.without = torch.empty_like(state_dict[prefix + 'without']).to(self.weight)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def forward(
        self,
        r: int,
        seen: Tensor,
        particles: Tensor | None = None,
        fold: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Offsets ``[K, N, M]`` (mm) and ``log_spread`` ``[K, 1, M]`` of round ``r``.

        Args:
            seen: ``[K, N, M, F]``.
            particles: which of them these are, where they are not all.
            fold: ``[K, N]``, 0 or 1: the filters that do not know it, where they are kept.
        """
        some = slice(None) if particles is None else particles
        log_spread = self.log_spread[r][:, some].unsqueeze(1)
        if fold is None or self.without is None:
            return linear_offsets(self.weight[r][:, some], seen), log_spread
        without = self.without[r][:, :, some].unbind(1)
        both = torch.stack([linear_offsets(weight, seen) for weight in without])
        return torch.where(fold.unsqueeze(-1) == 0, both[0], both[1]), log_spread


def linear_offsets(weight: Tensor, seen: Tensor) -> Tensor:
    """``[K, M, F + 1]`` filters at ``[K, N, M, F]`` to ``[K, N, M]`` offsets, mm."""
    return torch.einsum('knmf,kmf->knm', seen, weight[..., :-1]) + weight[:, None, :, -1]


class RidgeSums:
    """Sums over what K x M particles saw and how far they were off, in two folds of subjects, so
    that filters can be tried on subjects that they were not fitted to.

    Args:
        num_anatomies, num_particles: K and M.
        inside: F.
    """

    def __init__(
        self, num_anatomies: int, num_particles: int, inside: int, device: torch.device
    ) -> None:
        shape = (2, num_anatomies, num_particles)
        self.gram = torch.zeros(*shape, inside + 1, inside + 1, device=device)
        self.product = torch.zeros(*shape, inside + 1, device=device)
        self.square = torch.zeros(*shape, device=device)
        self.count = torch.zeros(2, num_anatomies, device=device)
        self._waiting: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = {}

    def add(self, fold: int, k: int, seen: Tensor, offsets: Tensor) -> None:
        """Adds N fits of anatomy ``k``: ``[N, M, F]`` and ``[N, M]`` (mm)."""
        waiting = self._waiting.setdefault((fold, k), [])
        waiting.append((seen.clone(), offsets.clone()))
        if sum(len(rows) for rows, _ in waiting) >= ROWS_AT_ONCE:
            self._sum_up(fold, k)

    def _sum_up(self, fold: int, k: int) -> None:
        seen, offsets = (
            torch.cat(rows) for rows in zip(*self._waiting.pop((fold, k)), strict=True)
        )
        x = torch.cat([seen, torch.ones_like(seen[..., :1])], -1).transpose(0, 1)
        y = offsets.T.unsqueeze(-1)
        self.gram[fold, k] += x.transpose(1, 2) @ x
        self.product[fold, k] += (x.transpose(1, 2) @ y).squeeze(-1)
        self.square[fold, k] += y.square().sum((1, 2))
        self.count[fold, k] += len(seen)

    def share(self) -> None:
        """Adds up what all processes saw, before :meth:`solve`."""
        for fold, k in list(self._waiting):
            self._sum_up(fold, k)
        for part in (self.gram, self.product, self.square, self.count):
            all_reduce(part)

    def solve(self, strengths: Sequence[float]) -> 'Filters':
        """The filters of all subjects, each anatomy with that of the ``strengths`` of the ridge
        (for all subjects together) that serves subjects best that it was not fitted to. Where there
        is no subject, filters say nothing and the spread is infinite."""
        found = [self._solve(k, strengths) for k in range(self.gram.shape[1])]
        return Filters(*(torch.stack(parts) for parts in zip(*found, strict=True)))

    def _solve(self, k: int, strengths: Sequence[float]) -> tuple[Tensor, Tensor, Tensor]:
        gram, product, square = self.gram[:, k], self.product[:, k], self.square[:, k]
        if not self.count[:, k].any():
            nothing = torch.zeros_like(product)
            return nothing[0], nothing, torch.full_like(square[0], torch.inf)
        tried = []
        for strength in strengths:
            without = _ridge(gram.flip(0), product.flip(0), strength / 2)
            explained = 2 * (without * product).sum(-1)
            again = torch.einsum('hmf,hmfg,hmg->hm', without, gram, without)
            left = (square - explained + again).sum(0).clamp(min=0)
            tried.append((float(left.sum()), strength, without, left))
        # Of equals the strongest: with one fold empty, nothing tells them apart.
        _, strength, without, left = min(tried, key=lambda trial: (trial[0], -trial[1]))
        spread = (left / self.count[:, k].sum().clamp(min=1)).sqrt().clamp(min=LEAST_SPREAD)
        return _ridge(gram.sum(0), product.sum(0), strength), without, spread


@dataclass(frozen=True)
class Filters:
    """One round's ``weight`` ``[K, M, F + 1]``, those fitted ``without`` each fold
    ``[K, 2, M, F + 1]``, and the standard deviation ``spread`` ``[K, M]`` (mm) of what the latter
    leave on the subjects that they do not know."""

    weight: Tensor
    without: Tensor
    spread: Tensor


def _ridge(gram: Tensor, product: Tensor, strength: float) -> Tensor:
    penalty = torch.full(gram.shape[-1:], strength, device=gram.device)
    penalty[-1] = 1e-3  # the constant is free
    factor = torch.linalg.cholesky(gram + torch.diag(penalty))
    return torch.cholesky_solve(product.unsqueeze(-1), factor).squeeze(-1)
