"""Ridge regressions, one a particle, that are told how they serve subjects they do not know.

Without one of its subjects a regression need not be solved again: where ``H`` is the block of the
hat matrix of a subject's rows, ``(1 - H)^-1`` times what the whole regression leaves of them is
what the regression without them would (Allen 1974, for a block in place of a row).
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from mmengine.dist import all_reduce
from torch import Tensor

# Regressions that are solved together, and which of them choose the strength of the ridge: the
# strengths are an anatomy's, and neighbours agree.
AT_ONCE, CHOOSING = 64, 8
# Of the constant; it is all but free.
OF_CONSTANT = 1e-3
# Added to ``1 - H``, whose numbers are in single precision.
ROUNDING = 1e-4
# No particle is surer than this, mm.
LEAST_SPREAD = 0.1


class SubjectRows:
    """Rows of M regressions, of this process's subjects.

    Args:
        num_particles, inside: M and F.
    """

    def __init__(self, num_particles: int, inside: int, device: torch.device) -> None:
        self._seen = [torch.empty(0, num_particles, inside, dtype=torch.half, device=device)]
        self._goals = [torch.empty(0, num_particles, device=device)]
        self._shown = [torch.empty(0, num_particles, dtype=torch.bool, device=device)]
        self._subjects: list[int] = []

    def add(self, subject: int, seen: Tensor, goals: Tensor, shown: Tensor) -> None:
        """N rows of a subject: ``[N, M, F]``, which are kept in half precision, the numbers to be
        told from them ``[N, M]``, and which regressions they count for, ``[N, M]`` bool."""
        self._seen.append(seen.half() * shown.unsqueeze(-1))
        self._goals.append(goals * shown)
        self._shown.append(shown)
        self._subjects += [subject] * len(goals)

    def stacked(self) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        """``[n, M, F]`` and ``[n, M]``, both zero where a row does not count, ``[n, M]``, where it
        does, and the indices of every subject's rows, ``[S, r]`` of those that have as many."""
        rows: dict[int, list[int]] = defaultdict(list)
        for row, subject in enumerate(self._subjects):
            rows[subject].append(row)
        by_count: dict[int, list[list[int]]] = defaultdict(list)
        for own in rows.values():
            by_count[len(own)].append(own)
        alike = [torch.tensor(some, device=self._goals[0].device) for some in by_count.values()]
        return torch.cat(self._seen), torch.cat(self._goals), torch.cat(self._shown), alike


@dataclass(frozen=True)
class SubjectRidge:
    """M regressions: ``weight`` ``[M, F + 1]``, the constant last; what those that do not know a
    row's subject say of it, ``told`` ``[n, M]``, zero where it does not count, and ``spread``
    ``[M]``, the root mean square of what they leave, over all processes' rows. Where none counts,
    the weights are zero and the spread is infinite."""

    weight: Tensor
    told: Tensor
    spread: Tensor


def fit_ridge(rows: SubjectRows, strengths: Sequence[float]) -> SubjectRidge:
    """The regressions of all processes' rows, with that of the ``strengths`` of the ridge that
    leaves least of subjects that they do not know. A subject's rows are all in one process; every
    process calls this with as many particles."""
    seen, goals, shown, own = rows.stacked()
    particles, inside = seen.shape[1:]
    count = shown.sum(0).float()
    subjects = torch.tensor(float(sum(map(len, own))), device=goals.device)
    all_reduce(count)
    all_reduce(subjects)
    if not count.any():
        weight = goals.new_zeros(particles, inside + 1)
        return SubjectRidge(weight, goals, goals.new_full((particles,), torch.inf))
    tried = torch.arange(0, particles, CHOOSING, device=goals.device)
    sums = _Sums.of(seen[:, tried], goals[:, tried], shown[:, tried])
    left = torch.stack([sums.solve(s, own)[1].square().sum() for s in strengths])
    all_reduce(left)
    # One subject alone tells nothing of others.
    strength = max(strengths) if subjects < 2 else strengths[int(left.argmin())]
    solved = [
        _Sums.of(seen[:, some], goals[:, some], shown[:, some]).solve(strength, own)
        for some in torch.arange(particles, device=goals.device).split(AT_ONCE)
    ]
    weight, residual = torch.cat([w for w, _ in solved]), torch.cat([e for _, e in solved]).T
    squares = residual.square().sum(0)
    all_reduce(squares)
    spread = (squares / count).sqrt().clamp(min=LEAST_SPREAD)
    spread[count == 0] = torch.inf
    return SubjectRidge(weight, goals - residual, spread)


@dataclass(frozen=True)
class _Sums:
    """Normal equations of P regressions over all processes' rows: ``rows`` ``[P, n, F + 1]``,
    ``goals`` ``[P, n, 1]`` of this process, ``gram`` and ``product`` of all. Where a row does not
    count, all of it is zero, its constant too."""

    rows: Tensor
    goals: Tensor
    gram: Tensor
    product: Tensor

    @classmethod
    def of(cls, seen: Tensor, goals: Tensor, shown: Tensor) -> '_Sums':
        rows = torch.cat([seen.float(), shown.float().unsqueeze(-1)], -1).transpose(0, 1)
        told = goals.T.unsqueeze(-1)
        gram, product = rows.transpose(1, 2) @ rows, rows.transpose(1, 2) @ told
        all_reduce(gram)
        all_reduce(product)
        return cls(rows, told, gram, product)

    def solve(self, strength: float, own: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Weights ``[P, F + 1]``, and what regressions without a row's subject leave of it
        ``[P, n]``; ``own`` are the rows ``[S, r]`` of subjects that have as many."""
        penalty = torch.full(self.gram.shape[-1:], strength, device=self.gram.device)
        penalty[-1] = OF_CONSTANT
        factor = torch.linalg.cholesky(self.gram + torch.diag(penalty))
        weight = torch.cholesky_solve(self.product, factor)
        left = self.goals - self.rows @ weight
        # The hat matrix is this times itself.
        root = torch.linalg.solve_triangular(factor, self.rows.transpose(1, 2), upper=False)
        unknown = torch.empty_like(left)
        for rows in own:
            blocks = root[:, :, rows].movedim(1, 2)
            outside = -(blocks.transpose(-1, -2) @ blocks)
            outside.diagonal(dim1=-2, dim2=-1).add_(1 + ROUNDING)
            outside, failed = torch.linalg.cholesky_ex(outside)
            without = torch.cholesky_solve(left[:, rows], outside)
            # Too weak a ridge to tell in single precision: not to be chosen.
            unknown[:, rows] = without.masked_fill((failed > 0)[..., None, None], torch.inf)
        return weight.squeeze(-1), unknown.squeeze(-1)
