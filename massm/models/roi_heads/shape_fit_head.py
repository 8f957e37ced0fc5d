"""Local and world particles by fitting the shape model to the image; an addition to the paper.

From a rough centre, rounds of: look along every particle's normal, say how far off it is and how
sure that is, take the closed-form posterior of pose and modes. Wide and coarse first, narrow and
fine later (docs/decisions/shape-fit.md).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from mmengine.dist import all_reduce
from mmengine.model import BaseModule
from torch import Tensor, nn

from massm.errors import ConfigError
from massm.io.templates import ShapeTemplate
from massm.models.losses.focal_regression import masked_mean
from massm.models.precision import full_precision
from massm.models.shape_fit.linear_offsets import LinearOffsets
from massm.models.shape_fit.posterior import (
    FitState,
    Offsets,
    Posterior,
    moved,
    posterior,
    rotation_from_vector,
)
from massm.models.shape_fit.profiles import (
    CONTRAST,
    Around,
    Seen,
    image_profiles,
    profile_pattern,
    visible,
)
from massm.models.shape_fit.region_network import RegionNetwork, region_loss
from massm.models.shape_fit.regions import DrawnRegions, Pose, RegionGrid
from massm.models.shape_fit.shape_prior import ShapePrior, Shapes
from massm.registry import MODELS

# Logits of regions: beyond this nothing more is known; divided by this they are as large as images.
REGION_RANGE, REGION_UNIT = 6.0, 3.0
# Where fits of a box start in use, in the starts' standard deviations.
STARTS = torch.cat([torch.zeros(1, 3), torch.eye(3), -torch.eye(3)])
ALL = slice(None)


@dataclass(frozen=True)
class Look:
    """What K x N shapes see in a round: ``normals`` ``[K, N, M, 3]`` in the volume, the
    ``profile`` ``[K, N, M, F]`` along each, and which particles are ``visible`` ``[K, N, M]``."""

    normals: Tensor
    profile: Tensor
    visible: Tensor


@dataclass(frozen=True)
class Round:
    """One round: the ``normals`` ``[K, N, M, 3]`` of the state it began with, the posterior, where
    it led, how far the image contradicts that, ``misfit`` ``[K, N]``, and the regions that were
    read, if any were drawn yet."""

    normals: Tensor
    posterior: Posterior
    after: FitState
    misfit: Tensor
    drawn: DrawnRegions | None


@dataclass(frozen=True)
class ShapeFit:
    """``local_vox`` and ``world_mm`` ``[B, K, M, 3]``, the particles' standard deviations along
    their normals ``deviation_mm`` ``[B, K, M]``, ``coefficients`` ``[B, K, L]``, how far the volume
    bears the shapes out, ``support`` ``[B, K]`` in [0, 1], and the regions that were drawn, if
    any."""

    local_vox: Tensor
    world_mm: Tensor
    deviation_mm: Tensor
    coefficients: Tensor
    support: Tensor
    drawn: DrawnRegions | None = None


@dataclass(frozen=True)
class FitTargets:
    """What a step of training teaches, of a batch of B: ``centers_vox`` ``[B, K, 3]`` that starts
    are drawn around, ``seeds``, so that what is drawn depends on nothing but the sample, and
    ``masks`` ``[B, K, X, Y, Z]``, of which some are ``labelled`` ``[B, K]``."""

    centers_vox: Tensor
    seeds: Sequence[int]
    masks: Tensor
    labelled: Tensor


@MODELS.register_module()
class ShapeFitHead(BaseModule):
    """Fits K shape models. Its linear filters are fitted in closed form
    (:class:`~massm.engine.hooks.FilterFitHook`); steps of training teach the network that draws
    regions.

    Args:
        num_anatomies, num_particles: K and M.
        in_channels: of the images it reads.
        spacing: of the volume, mm.
        stages: in order, each with ``reach`` and ``beside`` of the profiles, ``rounds``, ``modes``
            that may move, and with a ``region`` whether it ``reads_region``; those that do come
            last.
        lengths_in: what ``reach``, ``beside``, ``margin`` and ``start_std`` are given in, ``mm`` or
            ``voxels``.
        region: ``cells``, ``margin`` and ``channels`` of :class:`RegionGrid` and
            :class:`RegionNetwork`: masks drawn around the shapes, anew for each stage that reads
            them; none without.
        samples: on a profile.
        start_std: of the starts' distance from the true centre in training, an axis.
        start_turn: of their rotation, radians.
        test_starts: fits a box in use: from its centre and ``start_std`` beside it along the axes,
            at most seven.
        weighs_scores: whether the detector's score of an anatomy counts only as far as the volume
            bears its shape out: shows its particles, and what is drawn there agrees with it.
        prior: of :class:`ShapePrior`.

    Raises:
        ConfigError: ``lengths_in`` is neither; a stage that reads regions is followed by one that
            does not, or there is no ``region`` to read.
    """

    def __init__(
        self,
        num_anatomies: int,
        num_particles: int,
        in_channels: int,
        spacing: float,
        stages: Sequence[dict],
        lengths_in: str = 'mm',
        region: dict | None = None,
        samples: int = 13,
        start_std: float = 4.0,
        start_turn: float = 0.05,
        test_starts: int = 1,
        weighs_scores: bool = False,
        prior: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if lengths_in not in ('mm', 'voxels'):
            raise ConfigError(f'lengths_in must be mm or voxels, got {lengths_in!r}')
        unit = spacing if lengths_in == 'voxels' else 1.0
        self.spacing, self.stages = spacing, [_in_mm(stage, unit) for stage in stages]
        check_stages(self.stages, region)
        self.start_std, self.start_turn = unit * start_std, start_turn
        self.test_starts, self.weighs_scores = min(test_starts, len(STARTS)), weighs_scores
        # What validation says of the standard deviations: a factor, and which mean (mm) is usual.
        self.register_buffer('deviation_factor', torch.ones(num_anatomies))
        self.register_buffer('usual_uncertainty', torch.full((num_anatomies,), torch.inf))
        # Of which anatomies masks were seen: of others nothing is told by what is drawn.
        self.register_buffer('region_taught', torch.zeros(num_anatomies, dtype=torch.bool))
        self.prior = ShapePrior(num_anatomies, num_particles, **(prior or {}))
        self.filters = nn.ModuleList()
        for i, stage in enumerate(self.stages):
            pattern = profile_pattern(stage['reach'], samples, stage['beside'])
            self.register_buffer(f'pattern_{i}', pattern, persistent=False)
            inside = (in_channels + self._reads_region(i)) * len(pattern)
            self.filters.extend(
                LinearOffsets(num_anatomies, num_particles, inside, stage['reach'])
                for _ in range(stage['rounds'])
            )
        self.region_grid = self.region_network = None
        if region is not None:
            cells, margin = region['cells'], unit * region['margin']
            self.region_grid = RegionGrid(num_anatomies, cells, margin, spacing)
            self.region_network = RegionNetwork(num_anatomies, in_channels, region['channels'])

    def _reads_region(self, stage: int) -> bool:
        return self.stages[stage].get('reads_region', False)

    def read_templates(self, templates: Sequence[ShapeTemplate], spacing: float) -> None:
        """Takes the shape models of ``templates``; filters and calibration of earlier ones are
        forgotten."""
        self.prior.read(templates)
        if self.region_grid is not None:
            self.region_grid.read(self.prior.shapes)
        for filters in self.filters:
            filters.forget()
        self.deviation_factor.fill_(1.0)
        self.usual_uncertainty.fill_(torch.inf)

    def calibrate(self, k: int, factor: float, usual_mm: float) -> None:
        """Multiplies the standard deviations of anatomy ``k`` by ``factor``; a mean above
        ``usual_mm`` is unusual then."""
        self.deviation_factor[k] *= factor
        self.usual_uncertainty[k] = usual_mm

    def is_calibrated(self, k: int) -> bool:
        """Whether a validation has said what the standard deviations of anatomy ``k`` are worth."""
        return bool(self.deviation_factor[k] != 1)

    @property
    def stage_of_rounds(self) -> list[int]:
        """Of every round of a fit, which stage it belongs to."""
        return [i for i, stage in enumerate(self.stages) for _ in range(stage['rounds'])]

    @property
    def rounds_before_regions(self) -> int:
        """How many rounds need nothing that training teaches."""
        return sum(not self._reads_region(i) for i in self.stage_of_rounds)

    @property
    def is_fitted(self) -> bool:
        """Whether every round is; those that read regions are fitted when training ends."""
        return all(filters.is_fitted for filters in self.filters)

    def draws_before(self, r: int) -> bool:
        """Whether regions are drawn before round ``r``: a stage begins that reads them."""
        stages = self.stage_of_rounds
        return self._reads_region(stages[r]) and (r == 0 or stages[r - 1] != stages[r])

    def modes(self, r: int) -> int:
        """How many modes may move in round ``r``."""
        return self.stages[self.stage_of_rounds[r]]['modes']

    def rounds(self, seen: Seen, state: FitState, until: int | None = None) -> Iterator[Round]:
        """The fit, round by round; each begins where the last ended. Rounds that were not fitted
        are left out, but for the first.

        Args:
            seen: a batch of B.
            state: N starts; N is a multiple of B, starts of an image together.
            until: ends before this round; all without.
        """
        shapes, drawn = self.prior.shapes, None
        for r, filters in enumerate(self.filters[:until]):
            if r > 0 and not filters.is_fitted:
                continue
            if self.draws_before(r):
                drawn = self.draw(seen, state)
            look = self.look(r, seen, state, shapes, drawn)
            offsets = filters(look.profile, look.visible)
            found = posterior(state, shapes, look.normals, offsets, self.modes(r))
            state = moved(state, shapes, found.best)
            heard = look.visible & filters.has_say.unsqueeze(1)
            misfit = misfit_of(found, offsets, filters.log_spread, heard)
            yield Round(look.normals, found, state, misfit, drawn)

    def look(
        self,
        r: int,
        seen: Seen,
        state: FitState,
        shapes: Shapes,
        drawn: DrawnRegions | None = None,
        some: slice = ALL,
    ) -> Look:
        """What shapes see in round ``r``; ``state``, ``shapes`` and ``drawn`` are of ``some``
        anatomies."""
        normals, around = self.look_around(state, shapes)
        pattern = getattr(self, f'pattern_{self.stage_of_rounds[r]}')
        profile = image_profiles(seen, around, pattern)
        if self._reads_region(self.stage_of_rounds[r]):
            # Regions learn nothing from the fit.
            known = drawn.logits.detach().float().clamp(-REGION_RANGE, REGION_RANGE) / REGION_UNIT
            known = replace(drawn, logits=known)
            read = self.region_grid.profiles(known, around, pattern, some)
            profile = torch.cat([profile, read], -1)
        return Look(normals, profile, visible(seen, around))

    def look_around(self, state: FitState, shapes: Shapes) -> tuple[Tensor, Around]:
        """The particles' normals ``[K, N, M, 3]`` in the volume, and where they look."""
        points = state.points(shapes)
        frames = state.turned(shapes.frames[:, None].expand(*points.shape, 3))
        return frames[..., 0, :], Around(points / self.spacing, frames / self.spacing)

    def draw(self, seen: Seen, state: FitState) -> DrawnRegions:
        """Regions around the first of each image's fits."""
        pose = Pose.of_first(state, len(seen.images))
        regions = CONTRAST * (self.region_grid.look(seen.images, pose) - 0.5)
        return DrawnRegions(self.region_network(regions, self.region_grid.distance), pose)

    def predict(self, seen: Seen, centers_vox: Tensor) -> ShapeFit:
        """Fits every anatomy from around its centre ``[B, K, 3]`` (voxels); of several starts the
        mean, whose standard deviation holds their spread."""
        with full_precision(seen.images):
            centers = centers_vox.transpose(0, 1).float() * self.spacing
            around = self.start_std * STARTS[: self.test_starts].to(centers)
            starts = (centers.unsqueeze(2) + around).flatten(1, 2)
            *_, last = self.rounds(seen, FitState.at(starts, len(self.prior.shapes)))
            return self._result(seen, last)

    def _result(self, seen: Seen, last: Round) -> ShapeFit:
        shapes, starts = self.prior.shapes, self.test_starts
        state = mean_of_starts(last.after, starts)
        points = state.points(shapes)
        away = last.after.points(shapes).unflatten(1, (-1, starts)) - points.unsqueeze(2)
        spread = (away * last.normals.unflatten(1, (-1, starts))).sum(-1).square().mean(2)
        # Filters are as sure of every patient; how well their words fit together tells them apart.
        variance = (last.posterior.deviation() * last.misfit.unsqueeze(-1)).square()
        variance = variance.unflatten(1, (-1, starts)).mean(2)
        deviation = (variance + spread).sqrt() * self.deviation_factor[:, None, None]
        local = points.transpose(0, 1) / self.spacing
        support = seen.shows(local).float().mean(-1)
        if last.drawn is not None:
            agreement = self.region_grid.agreement(last.drawn).T
            support = torch.where(self.region_taught, support * agreement, support)
        return ShapeFit(
            local,
            state.world(shapes).transpose(0, 1),
            deviation.transpose(0, 1),
            state.coefficients.transpose(0, 1),
            support,
            last.drawn,
        )

    def loss(self, seen: Seen, targets: FitTargets) -> dict[str, Tensor]:
        """``L_s`` of the regions that the fit would read first, from a start near the truth, where
        they are labelled."""
        with full_precision(seen.images):
            centers = targets.centers_vox.transpose(0, 1).float() * self.spacing
            state = self.draw_starts(centers, targets.seeds, 1)
            with torch.no_grad():
                for passed in self.rounds(seen, state, self.rounds_before_regions):
                    state = passed.after
            drawn = self.draw(seen, state)
            inside = self.region_grid.look_at_own(targets.masks.float(), drawn.pose)
            labelled = targets.labelled.transpose(0, 1)
            self._note_taught(inside, labelled)
            each = region_loss(drawn.logits, inside)
            return {'L_s': masked_mean(each.unsqueeze(-1), labelled)}

    def _note_taught(self, inside: Tensor, labelled: Tensor) -> None:
        """Of masks in their regions ``[K, B, G, G, G]``, those that show a process something."""
        shown = labelled & inside.flatten(2).any(-1)
        anywhere = shown.any(1).float()
        all_reduce(anywhere, 'max')
        self.region_taught |= anywhere.bool()

    def draw_starts(self, centers_mm: Tensor, seeds: Sequence[int], starts: int) -> FitState:
        """``starts`` a box around ``centers_mm`` ``[K, B, 3]``, of each image by its seed."""
        shape = (2, len(centers_mm), starts, 3)
        noise = [torch.randn(shape, generator=torch.Generator().manual_seed(s)) for s in seeds]
        shift, turn = torch.cat(noise, 2).to(centers_mm)
        centers = centers_mm.repeat_interleave(starts, 1) + self.start_std * shift
        state = FitState.at(centers, len(self.prior.shapes))
        return replace(state, rotation=rotation_from_vector(self.start_turn * turn))


def check_stages(stages: Sequence[dict], region: dict | None) -> None:
    """Refuses an order of stages that cannot be fitted.

    Raises:
        ConfigError: see :class:`ShapeFitHead`.
    """
    reads = [stage.get('reads_region', False) for stage in stages]
    if reads != sorted(reads):
        raise ConfigError('stages: those that read regions must come after those that do not')
    if any(reads) and region is None:
        raise ConfigError('a stage reads regions, and there is no region; set local_head.region')
    if region is not None and region['cells'] % 2 ** len(region['channels']):
        raise ConfigError(
            f'region.cells must be a multiple of {2 ** len(region["channels"])}, two to the number '
            f'of its channels, got {region["cells"]}'
        )


def misfit_of(found: Posterior, offsets: Offsets, log_spread: Tensor, heard: Tensor) -> Tensor:
    """``[K, N]``: what the moved shape leaves of the offsets of ``heard`` particles, in their
    standard deviations (``log_spread`` ``[K, M]``), root mean square; 1 where none is."""
    left = offsets.mean - (found.jacobian @ found.best.unsqueeze(-1)).squeeze(-1)
    square = (left * torch.exp(-log_spread).unsqueeze(1)).square() * heard
    mean = square.sum(-1) / heard.sum(-1).clamp(min=1)
    return torch.where(heard.any(-1), mean, torch.ones_like(mean)).sqrt()


def _in_mm(stage: dict, unit: float) -> dict:
    return {**stage, 'reach': unit * stage['reach'], 'beside': unit * stage['beside']}


def mean_of_starts(state: FitState, starts: int) -> FitState:
    """``[K, N * starts]`` fits to the ``[K, N]`` means of their poses and coefficients: a shape of
    the model that turns with the patient."""
    rotation, translation, coefficients, start = (
        x.unflatten(1, (-1, starts)).mean(2)
        for x in (state.rotation, state.translation, state.coefficients, state.start)
    )
    u, _, v = torch.linalg.svd(rotation)  # the nearest rotation to the mean of near ones
    return FitState(u @ v, translation, coefficients, start)
