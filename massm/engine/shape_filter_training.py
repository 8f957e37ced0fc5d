"""Fits the linear filters of a :class:`ShapeFitHead`, before its networks learn what is left."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace

import torch
from mmengine.dist import all_reduce
from torch import Tensor

from massm.models.roi_heads.shape_fit_head import ShapeFitHead
from massm.models.shape_fit.linear_offsets import Filters, RidgeSums, linear_offsets
from massm.models.shape_fit.posterior import FitState, Offsets, moved, posterior
from massm.models.shape_fit.profiles import Around, Seen, image_profiles, visible
from massm.models.shape_fit.shape_prior import Shapes

# Sums of so many anatomies at once that they take no more, bytes.
LARGEST_SUMS = 1.5e9
# Of the ridge. The largest leave next to nothing of a filter that serves no subject it does not
# know.
STRENGTHS = (30.0, 100.0, 300.0, 1000.0, 3000.0, 1e4, 1e5)
# Shares of the particles that may count as independent measurements.
INDEPENDENCES = (0.01, 0.03, 0.1, 0.3)


@dataclass(frozen=True)
class FilterCase:
    """One subject: what is ``seen`` of it (a batch of one), its particles ``[K, M, 3]`` and their
    boxes' centres ``[K, 3]`` in mm, which anatomies it has ``[K]``, the ``seed`` of its starts and
    for each anatomy its ``fold`` ``[K]``, 0 or 1."""

    seen: Seen
    local_mm: Tensor
    centers_mm: Tensor
    has_shape: Tensor
    seed: int
    fold: Tensor


@torch.no_grad()
def fit_filters(
    head: ShapeFitHead,
    cases: Callable[[], Iterable[FilterCase]],
    starts: int = 3,
    strengths: Sequence[float] = STRENGTHS,
    independences: Sequence[float] = INDEPENDENCES,
) -> Tensor:
    """Fits round after round; each begins where filters of the rounds before, fitted without the
    subject's fold, have led. How many independent measurements the particles of an anatomy are
    worth there is chosen for each round so that it brings subjects nearest that the filters do not
    know; networks that come after are surer, and have the head's own.

    Args:
        cases: gives this process's cases, the same ones at every call.
        starts: of every anatomy of every case.
        strengths: of the ridge, to choose from.
        independences: see :class:`ShapeFitHead`, to choose from.

    Returns:
        ``[R, K]`` mm: what the filters leave of the offsets of subjects that they do not know, root
        mean square.
    """
    count, particles, inside = head.filters.weight.shape[1:]
    at_once = max(1, int(LARGEST_SUMS / (8 * particles * inside**2)))
    for first in range(0, count, at_once):
        some = slice(first, first + at_once)
        _fit_anatomies(head, cases, starts, strengths, independences, some)
    return head.filters.log_spread.exp().square().mean(-1).sqrt()


def _fit_anatomies(
    head: ShapeFitHead,
    cases: Callable[[], Iterable[FilterCase]],
    starts: int,
    strengths: Sequence[float],
    independences: Sequence[float],
    anatomies: slice,
) -> None:
    shapes = head.prior.shapes.of(anatomies)
    count, particles, inside = head.filters.weight[0, anatomies].shape
    states: list[FitState] = []
    for r in range(len(head.stage_of_rounds)):
        sums = RidgeSums(count, particles, inside - 1, shapes.mean.device)
        for n, case in enumerate(cases()):
            if r == 0:
                states.append(_start(head, case, starts, anatomies))
            _add(head, shapes, case, states[n], sums, r, anatomies)
        sums.share()
        filters = sums.solve(strengths)
        head.filters.take(r, anatomies, filters)
        trials = Trials(independences, count, shapes.mean.device)
        for case, state in zip(cases(), states, strict=True):
            _try(head, shapes, case, state, filters, r, anatomies, trials)
        states = trials.best()


def _start(head: ShapeFitHead, case: FilterCase, starts: int, anatomies: slice) -> FitState:
    state = head.draw_starts(case.centers_mm.unsqueeze(1), [case.seed], starts)
    parts = {key: value[anatomies] for key, value in vars(state).items()}
    return replace(state, **parts)


def _look(
    head: ShapeFitHead, shapes: Shapes, case: FilterCase, state: FitState, r: int
) -> tuple[Tensor, Around, Tensor]:
    """The particles' normals, where they look in round ``r``, and what they see."""
    normals, around = head.look_around(state, shapes)
    return normals, around, image_profiles(case.seen, around, head.pattern(r))


def _try(
    head: ShapeFitHead,
    shapes: Shapes,
    case: FilterCase,
    state: FitState,
    filters: Filters,
    r: int,
    anatomies: slice,
    trials: 'Trials',
) -> None:
    """Round ``r`` with the filters that do not know the case, for every independence."""
    normals, around, profile = _look(head, shapes, case, state, r)
    without = filters.without[torch.arange(len(shapes.mean)), case.fold[anatomies]]
    mean = linear_offsets(without, profile)
    precision = visible(case.seen, around) / filters.spread.unsqueeze(1) ** 2
    truth, exists = case.local_mm[anatomies].unsqueeze(1), case.has_shape[anatomies]
    for independence in trials.independences:
        offsets = Offsets(mean, independence * precision)
        found = posterior(state, shapes, normals, offsets, head.modes(r))
        after = moved(state, shapes, found.best)
        left = (after.points(shapes) - truth).square().sum(-1).mean(-1).sqrt().mean(-1)
        trials.add(independence, after, torch.where(exists, left, torch.zeros_like(left)))


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

    def best(self) -> list[FitState]:
        """The states that each anatomy's best independence, of all processes' cases, led to."""
        all_reduce(self.left)
        best = self.left.argmin(0)
        rows = best, torch.arange(len(best), device=best.device)
        tried = zip(*self.states.values(), strict=True)
        return [FitState(*(torch.stack(x)[rows] for x in _parts(case))) for case in tried]


def _parts(states: Sequence[FitState]) -> Iterator[tuple[Tensor, ...]]:
    """The states' fields, one by one, of all of them."""
    return zip(*([getattr(s, f.name) for f in fields(FitState)] for s in states), strict=True)


def _add(
    head: ShapeFitHead,
    shapes: Shapes,
    case: FilterCase,
    state: FitState,
    sums: RidgeSums,
    r: int,
    anatomies: slice,
) -> None:
    normals, around, profile = _look(head, shapes, case, state, r)
    truth = case.local_mm[anatomies].unsqueeze(1)
    offsets = (normals * (truth - head.spacing * around.points)).sum(-1)
    for k in case.has_shape[anatomies].nonzero().flatten().tolist():
        sums.add(int(case.fold[anatomies][k]), k, profile[k], offsets[k])
