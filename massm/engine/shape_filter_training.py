"""Fits the linear filters of a :class:`ShapeFitHead`, before its networks learn what is left."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
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
) -> Tensor:
    """Fits round after round; each begins where filters of the rounds before, fitted without the
    subject's fold, have led.

    Args:
        cases: gives this process's cases, the same ones at every call.
        starts: of every anatomy of every case.
        strengths: of the ridge, to choose from.

    Returns:
        ``[R, K]`` mm: what the filters leave of the offsets of subjects that they do not know, root
        mean square.
    """
    count, particles, inside = head.filters.weight.shape[1:]
    at_once = max(1, int(LARGEST_SUMS / (8 * particles * inside**2)))
    for first in range(0, count, at_once):
        _fit_anatomies(head, cases, starts, strengths, slice(first, first + at_once))
    return head.filters.log_spread.exp().square().mean(-1).sqrt()


def _fit_anatomies(
    head: ShapeFitHead,
    cases: Callable[[], Iterable[FilterCase]],
    starts: int,
    strengths: Sequence[float],
    anatomies: slice,
) -> None:
    shapes = head.prior.shapes.of(anatomies)
    count, particles, inside = head.filters.weight[0, anatomies].shape
    states: dict[int, FitState] = {}
    filters: Filters | None = None
    for r in range(len(head.stage_of_rounds)):
        sums = RidgeSums(count, particles, inside - 1, shapes.mean.device)
        for n, case in enumerate(cases()):
            if filters is None:
                states[n] = _start(head, case, starts, anatomies)
            else:
                rows = torch.arange(count), case.fold[anatomies]
                known = replace(filters, without=filters.without[rows])
                states[n] = _advance(head, shapes, case, states[n], known, r - 1)
            _add(head, shapes, case, states[n], sums, r, anatomies)
        sums.share()
        filters = sums.solve(strengths)
        head.filters.take(r, anatomies, filters)


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


def _advance(
    head: ShapeFitHead,
    shapes: Shapes,
    case: FilterCase,
    state: FitState,
    filters: Filters,
    r: int,
) -> FitState:
    """Round ``r`` with the filters ``without`` the case ``[K, M, F + 1]``."""
    normals, around, profile = _look(head, shapes, case, state, r)
    precision = head.independence * visible(case.seen, around) / filters.spread.unsqueeze(1) ** 2
    offsets = Offsets(linear_offsets(filters.without, profile), precision)
    found = posterior(state, shapes, normals, offsets, head.modes(r))
    return moved(state, shapes, found.best)


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
