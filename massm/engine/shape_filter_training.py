"""Fits the linear filters of a :class:`ShapeFitHead`, round after round."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace

import torch
from mmengine.dist import all_reduce
from torch import Tensor

from massm.engine.subject_ridge import SubjectRidge, SubjectRows, fit_ridge
from massm.models.roi_heads.shape_fit_head import ShapeFitHead
from massm.models.shape_fit.linear_offsets import NO_SAY, LinearOffsets
from massm.models.shape_fit.posterior import FitState, Offsets, moved, posterior
from massm.models.shape_fit.profiles import Seen
from massm.models.shape_fit.regions import DrawnRegions

# What so many anatomies see at once is kept that it takes no more, bytes.
LARGEST_ROWS = 1.5e9
# Of the ridge. The largest leave next to nothing of a filter that serves no subject it does not
# know.
STRENGTHS = (10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 1e4, 1e5)
# Shares of the particles that may count as independent measurements.
INDEPENDENCES = (0.01, 0.03, 0.1, 0.3, 0.6, 1.0)


@dataclass(frozen=True)
class FitCase:
    """One sample: what is ``seen`` of it (a batch of one), its particles ``[K, M, 3]`` and their
    boxes' centres ``[K, 3]`` in mm, of which anatomies they are known ``[K]``, cut ones too, the
    ``seed`` of its starts and which ``subject`` it is of."""

    seen: Seen
    local_mm: Tensor
    centers_mm: Tensor
    known: Tensor
    seed: int
    subject: int


class FilterFit:
    """Fits the rounds of a head one after the other. Each begins where the rounds before have led,
    by filters that do not know the subject: else later rounds would learn from errors that only
    known subjects have. How many independent measurements the particles of an anatomy are worth is
    chosen for each round so that it brings subjects nearest that the filters do not know.

    Args:
        head: whose filters are fitted.
        cases: gives this process's cases, the same ones at every call; all of a subject's are in
            one process.
        starts: of every anatomy of every case.
        strengths: of the ridge, to choose from.
        independences: to choose from.
    """

    def __init__(
        self,
        head: ShapeFitHead,
        cases: Callable[[], Iterable[FitCase]],
        starts: int = 3,
        strengths: Sequence[float] = STRENGTHS,
        independences: Sequence[float] = INDEPENDENCES,
    ) -> None:
        self.head, self.cases, self.starts = head, cases, starts
        self.strengths, self.independences = strengths, independences
        self.next_round = 0
        self._truths: list[tuple[Tensor, Tensor]] = []  # local_mm and known of each case
        self._states: list[FitState] = []
        self._regions: list[DrawnRegions | None] = []

    @torch.no_grad()
    def go_on(self, until: int) -> Tensor:
        """Fits the rounds from where it is to ``until``, that one left out.

        Returns:
            ``[R, K]`` mm of these rounds: what filters leave of the offsets of subjects that they
            do not know, root mean square.
        """
        left = []
        for r in range(self.next_round, until):
            self._begin(r)
            by_anatomies = [self._fit(r, some) for some in self._anatomies_at_once(r)]
            self._move(r, [_joined(parts) for parts in zip(*by_anatomies, strict=True)])
            left.append(_mean_spread(self.head.filters[r]))
            self.next_round = r + 1
        return torch.stack(left) if left else torch.empty(0, len(self.head.prior.mean))

    def taught(self) -> Tensor:
        """``[K]``: of which anatomies there are shapes to learn from, in any process."""
        known = torch.stack([known for _, known in self._truths]).any(0).float()
        all_reduce(known, 'max')
        return known > 0

    def _anatomies_at_once(self, r: int) -> list[slice]:
        count, particles, inside = self.head.filters[r].weight.shape
        rows = self.starts * len(self._states)
        at_once = max(1, int(LARGEST_ROWS / max(1, 2 * rows * particles * inside)))
        at_once = min(_of_all_processes(at_once), count)
        return [slice(first, first + at_once) for first in range(0, count, at_once)]

    def _begin(self, r: int) -> None:
        """Draws the starts before the first round, and before each stage the regions it reads."""
        if r == 0:
            self._truths, self._states = [], []
            for case in self.cases():
                self._truths.append((case.local_mm, case.known))
                self._states.append(self._start(case))
            self._regions = [None] * len(self._states)
        if self.head.draws_before(r):
            cases = zip(self.cases(), self._states, strict=True)
            self._regions = [_in_half(self.head.draw(case.seen, state)) for case, state in cases]

    def _start(self, case: FitCase) -> FitState:
        return self.head.draw_starts(case.centers_mm.unsqueeze(1), [case.seed], self.starts)

    def _fit(self, r: int, some: slice) -> list[tuple[Tensor, Tensor]]:
        """The filters of ``some`` anatomies; what they say of each case that they do not know,
        ``[some, starts, M]`` mm, and which particles are visible of those that are known."""
        head, shapes = self.head, self.head.prior.shapes.of(some)
        _, particles, inside = head.filters[r].weight.shape
        rows = [SubjectRows(particles, inside - 1, shapes.mean.device) for _ in shapes.mean]
        cases = zip(self.cases(), self._states, self._regions, strict=True)
        known, shown = [], []
        for case, state, drawn in cases:
            state = state.of(some)
            look = head.look(r, case.seen, state, shapes, drawn and drawn.of(some), some)
            truth = case.local_mm[some].unsqueeze(1)
            offsets = (look.normals * (truth - state.points(shapes))).sum(-1)
            known.append(case.known[some])
            shown.append(look.visible & known[-1][:, None, None])
            for k in known[-1].nonzero().flatten().tolist():
                rows[k].add(case.subject, look.profile[k], offsets[k], shown[-1][k])
        told = torch.zeros(len(known), len(rows), self.starts, particles, device=shapes.mean.device)
        for k, seen in enumerate(rows):
            found = fit_ridge(seen, self.strengths)
            _take(head, r, some.start + k, found)
            with_it = [n for n, present in enumerate(known) if present[k]]
            told[with_it, k] = found.told.unflatten(0, (-1, self.starts))
        return list(zip(told, shown, strict=True))

    def _move(self, r: int, said: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Round ``r`` with the filters that do not know the case, for every independence."""
        head, shapes, filters = self.head, self.head.prior.shapes, self.head.filters[r]
        trials = Trials(self.independences, len(shapes.mean), shapes.mean.device)
        cases = zip(self._truths, self._states, said, strict=True)
        for (truth, known), state, (mean, shown) in cases:
            normals, _ = head.look_around(state, shapes)
            for independence in trials.independences:
                share = torch.full_like(filters.independence, independence)
                offsets = Offsets(mean, filters.precision(shown, share))
                found = posterior(state, shapes, normals, offsets, head.modes(r))
                after = moved(state, shapes, found.best)
                away = after.points(shapes) - truth.unsqueeze(1)
                left = away.square().sum(-1).mean(-1).sqrt().mean(-1)
                left = torch.where(known, left, torch.zeros_like(left))
                trials.add(independence, after, left)
        chosen, self._states = trials.best()
        anywhere = trials.left.any(0)
        filters.independence.copy_(torch.where(anywhere, chosen, filters.independence))


def _joined(parts: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """A case's, of all anatomies."""
    told, shown = zip(*parts, strict=True)
    return torch.cat(told), torch.cat(shown)


def _of_all_processes(number: int) -> int:
    """The smallest."""
    least = torch.tensor([float(number)])
    all_reduce(least, 'min')
    return int(least)


def _in_half(drawn: DrawnRegions) -> DrawnRegions:
    return replace(drawn, logits=drawn.logits.half())


def _mean_spread(filters: LinearOffsets) -> Tensor:
    """``[K]`` mm: root mean square over particles that have a say."""
    heard = filters.has_say
    squares = filters.log_spread.exp().square() * heard
    return (squares.sum(-1) / heard.sum(-1).clamp(min=1)).sqrt()


def _take(head: ShapeFitHead, r: int, k: int, found: SubjectRidge) -> None:
    """Where nobody has the anatomy, nothing is known of its filters; where nobody shows a particle
    of it, it has no say."""
    filters, shown = head.filters[r], found.spread.isfinite()
    filters.weight[k] = found.weight
    if shown.any():
        filters.log_spread[k] = found.spread.clamp(max=NO_SAY).log()


class Trials:
    """Where every case gets with each of the ``independences``, and how far from the truth.

    Args:
        independences: to choose from.
        num_anatomies: K.
    """

    def __init__(
        self, independences: Sequence[float], num_anatomies: int, device: torch.device
    ) -> None:
        self.independences = tuple(independences)
        self.states: dict[float, list[FitState]] = {i: [] for i in self.independences}
        self.left = torch.zeros(len(self.independences), num_anatomies, device=device)

    def add(self, independence: float, state: FitState, left_mm: Tensor) -> None:
        """A case's state and its distance from the truth, ``[K]``; zero where nothing is known."""
        self.states[independence].append(state)
        self.left[self.independences.index(independence)] += left_mm

    def best(self) -> tuple[Tensor, list[FitState]]:
        """Each anatomy's best independence, of all processes' cases, and the states it led to."""
        all_reduce(self.left)
        best = self.left.argmin(0)
        rows = best, torch.arange(len(best), device=best.device)
        tried = zip(*self.states.values(), strict=True)
        states = [FitState(*(torch.stack(x)[rows] for x in _parts(case))) for case in tried]
        return torch.tensor(self.independences).to(self.left)[best], states


def _parts(states: Sequence[FitState]) -> Iterator[tuple[Tensor, ...]]:
    """The states' fields, one by one, of all of them."""
    return zip(*([getattr(s, f.name) for f in fields(FitState)] for s in states), strict=True)
