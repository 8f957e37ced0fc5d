"""Local and world particles by fitting the shape model to the image; an addition to the paper.

From a rough centre, rounds of: look along every particle's normal, say how far off it is and how
sure that is, take the closed-form posterior of pose and modes. Wide and coarse first, narrow and
fine later (docs/decisions/shape-fit.md).
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from massm.errors import ConfigError
from massm.io.templates import ShapeTemplate
from massm.models.losses.focal_regression import masked_mean
from massm.models.precision import full_precision
from massm.models.shape_fit.linear_offsets import LinearOffsets
from massm.models.shape_fit.offset_network import OffsetNetwork
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
    LINES,
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


@dataclass(frozen=True)
class Round:
    """One round: the state it began with, what was seen (offsets along ``normals``
    ``[K, N, M, 3]`` and logarithms of their standard deviations ``[K, N, M]``, mm, of particles
    that are ``visible`` ``[K, N, M]``), the posterior, and the regions that were drawn, if any were
    yet."""

    before: FitState
    normals: Tensor
    visible: Tensor
    mean: Tensor
    log_std: Tensor
    posterior: Posterior
    after: FitState
    drawn: DrawnRegions | None


@dataclass(frozen=True)
class ShapeFit:
    """``local_vox`` and ``world_mm`` ``[B, K, M, 3]``, the particles' standard deviations along
    their normals ``deviation_mm`` ``[B, K, M]``, ``coefficients`` ``[B, K, L]``, and the regions
    that were drawn, if any."""

    local_vox: Tensor
    world_mm: Tensor
    deviation_mm: Tensor
    coefficients: Tensor
    drawn: DrawnRegions | None = None


@dataclass(frozen=True)
class FitTargets:
    """What a fit learns from, of a batch of B.

    ``centers_vox`` ``[B, K, 3]`` that starts are drawn around, ``local_vox`` ``[B, K, M, 3]`` and
    where they are known, whole (``has_shape`` ``[B, K]``) or in part visible (``is_cut``
    ``[B, K]``); each subject's ``fold`` ``[B, K]`` of the filters; ``seeds``, so that what is drawn
    depends on nothing but the sample; where regions are drawn, ``masks`` ``[B, K, X, Y, Z]`` and
    which are ``labelled`` ``[B, K]``.
    """

    centers_vox: Tensor
    local_vox: Tensor
    has_shape: Tensor
    is_cut: Tensor
    fold: Tensor
    seeds: Sequence[int]
    masks: Tensor | None = None
    labelled: Tensor | None = None


@MODELS.register_module()
class ShapeFitHead(BaseModule):
    """Fits K shape models.

    Args:
        num_anatomies, num_particles: K and M.
        in_channels: of the images it reads.
        spacing: of the volume, mm.
        stages: in order, each with ``reach`` and ``beside`` of the profiles, ``rounds``, ``modes``
            that may move, and with a ``region`` whether it ``reads_region``.
        lengths_in: what ``reach``, ``beside``, ``margin`` and ``start_std`` are given in, ``mm`` or
            ``voxels``.
        region: ``cells``, ``margin`` and ``channels`` of :class:`RegionGrid` and
            :class:`RegionNetwork`: masks drawn around the shapes, anew for each stage that reads
            them; none without.
        samples: on a profile.
        starts: fits a box in training, each from its own start.
        particles_per_step: of every anatomy in a training step, drawn anew in each; all without.
            Neighbours see almost the same, so that more subjects teach more than more particles.
        start_std: of the starts' distance from the true centre in training, an axis.
        start_turn: of their rotation, radians.
        test_starts: fits a box in use: from its centre and ``start_std`` beside it along the axes,
            at most seven.
        hidden, code, leak: see :class:`OffsetNetwork`.
        independence: share of the particles that count as independent measurements, since
            neighbours err alike; validation says which is right for each anatomy
            (:class:`~massm.engine.hooks.IndependenceHook`).
        prior: of :class:`ShapePrior`.

    Raises:
        ConfigError: ``lengths_in`` is neither.
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
        starts: int = 4,
        particles_per_step: int | None = None,
        start_std: float = 4.0,
        start_turn: float = 0.05,
        test_starts: int = 1,
        hidden: int = 96,
        code: int = 16,
        leak: float = 0.1,
        independence: float = 0.15,
        prior: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if lengths_in not in ('mm', 'voxels'):
            raise ConfigError(f'lengths_in must be mm or voxels, got {lengths_in!r}')
        unit = spacing if lengths_in == 'voxels' else 1.0
        self.spacing, self.stages = spacing, [_in_mm(stage, unit) for stage in stages]
        self.starts, self.start_std, self.start_turn = starts, unit * start_std, start_turn
        self.test_starts = min(test_starts, len(STARTS))
        self.particles_per_step = min(particles_per_step or num_particles, num_particles)
        self.first_independence = independence
        # What validation says of it, and of the standard deviations: a factor, and which mean (mm)
        # is usual.
        self.register_buffer('independence', torch.full((num_anatomies,), float(independence)))
        self.register_buffer('deviation_factor', torch.ones(num_anatomies))
        self.register_buffer('usual_uncertainty', torch.full((num_anatomies,), torch.inf))
        # Counted so that what is drawn is the same in every process and after a resumption.
        self.register_buffer('steps', torch.zeros((), dtype=torch.long))
        self.prior = ShapePrior(num_anatomies, num_particles, **(prior or {}))
        for i, stage in enumerate(self.stages):
            pattern = profile_pattern(stage['reach'], samples, stage['beside'])
            self.register_buffer(f'pattern_{i}', pattern, persistent=False)
        shown = in_channels * LINES * samples
        reaches = [self.stages[i]['reach'] for i in self.stage_of_rounds]
        self.filters = LinearOffsets(num_anatomies, num_particles, shown, reaches)
        self.region_grid = self.region_network = None
        if region is not None:
            cells, margin = region['cells'], unit * region['margin']
            self.region_grid = RegionGrid(num_anatomies, cells, margin, spacing)
            self.region_network = RegionNetwork(num_anatomies, in_channels + 1, region['channels'])
        self.networks = nn.ModuleList(
            OffsetNetwork(
                num_anatomies,
                num_particles,
                shown + self._reads_region(i) * LINES * samples,
                hidden,
                code,
                stage['reach'],
                leak,
            )
            for i, stage in enumerate(self.stages)
        )

    def _reads_region(self, stage: int) -> bool:
        return self.region_grid is not None and self.stages[stage].get('reads_region', False)

    def read_templates(self, templates: Sequence[ShapeTemplate], spacing: float) -> None:
        """Takes the shape models of ``templates``; filters and calibration of earlier ones are
        forgotten."""
        self.prior.read(templates)
        if self.region_grid is not None:
            self.region_grid.read(self.prior.shapes)
        self.filters.forget()
        self.independence.fill_(self.first_independence)
        self.deviation_factor.fill_(1.0)
        self.usual_uncertainty.fill_(torch.inf)

    def calibrate(self, k: int, factor: float, usual_mm: float) -> None:
        """Multiplies the standard deviations of anatomy ``k`` by ``factor``; a mean above
        ``usual_mm`` is unusual then."""
        self.deviation_factor[k] *= factor
        self.usual_uncertainty[k] = usual_mm

    def rounds(
        self,
        seen: Seen,
        state: FitState,
        particles: Tensor | None = None,
        taught: Collection[int] | None = None,
        fold: Tensor | None = None,
    ) -> Iterator[Round]:
        """The fit, round by round; each begins where the last ended, without gradient.

        Args:
            seen: a batch of B.
            state: N starts; N is a multiple of B, starts of an image together.
            particles: indices of those that are looked at; all without.
            taught: rounds whose offsets carry gradients; all without.
            fold: ``[K, N]`` of the filters' fit: those fitted without it are used.
        """
        shapes = self.prior.shapes if particles is None else self.prior.shapes.some(particles)
        independence = self.independence * (self.prior.mean.shape[1] / shapes.mean.shape[1])
        learning = torch.is_grad_enabled()
        drawn, drawn_for = None, None
        for r, i in enumerate(self.stage_of_rounds):
            normals, around = self.look_around(state, shapes)
            pattern = self.pattern(r)
            profile = image_profiles(seen, around, pattern)
            linear, log_spread = self.filters(r, profile, particles, fold)
            if self._reads_region(i):
                if drawn_for != i:
                    drawn, drawn_for = self._draw(seen, state), i
                profile = torch.cat([profile, self._read(drawn, around, pattern)], -1)
            with torch.set_grad_enabled(learning and (taught is None or r in taught)):
                said = (profile, linear, log_spread, shapes.patches, particles)
                mean, log_std = self.networks[i](*said)
            shown = visible(seen, around)
            precision = independence[:, None, None] * torch.exp(-2 * log_std.detach()) * shown
            offsets = Offsets(mean.detach(), precision)
            found = posterior(state, shapes, normals, offsets, self.modes(r))
            after = moved(state, shapes, found.best)
            yield Round(state, normals, shown, mean, log_std, found, after, drawn)
            state = after

    def _draw(self, seen: Seen, state: FitState) -> DrawnRegions:
        """Around the first of each image's fits."""
        pose = Pose.of_first(state, len(seen.images))
        regions = CONTRAST * (self.region_grid.look(seen.images, pose) - 0.5)
        distance = self.region_grid.distance[:, None, None]
        distance = distance.expand(-1, regions.shape[1], -1, -1, -1, -1)
        logits = self.region_network(torch.cat([regions, distance], 2))
        return DrawnRegions(logits, pose)

    def _read(self, drawn: DrawnRegions, around: Around, pattern: Tensor) -> Tensor:
        """Regions learn nothing from the fit."""
        known = drawn.logits.detach().clamp(-REGION_RANGE, REGION_RANGE) / REGION_UNIT
        return self.region_grid.profiles(replace(drawn, logits=known), around, pattern)

    @property
    def stage_of_rounds(self) -> list[int]:
        """Of every round of a fit, which stage it belongs to."""
        return [i for i, stage in enumerate(self.stages) for _ in range(stage['rounds'])]

    def pattern(self, r: int) -> Tensor:
        """``[S, 3]`` mm: where a particle looks in round ``r``."""
        return getattr(self, f'pattern_{self.stage_of_rounds[r]}')

    def modes(self, r: int) -> int:
        """How many modes may move in round ``r``."""
        return self.stages[self.stage_of_rounds[r]]['modes']

    def look_around(self, state: FitState, shapes: Shapes) -> tuple[Tensor, Around]:
        """The particles' normals ``[K, N, M, 3]`` in the volume, and where they look."""
        points = state.points(shapes)
        frames = state.turned(shapes.frames[:, None].expand(*points.shape, 3))
        return frames[..., 0, :], Around(points / self.spacing, frames / self.spacing)

    def predict(self, seen: Seen, centers_vox: Tensor) -> ShapeFit:
        """Fits every anatomy from around its centre ``[B, K, 3]`` (voxels); of several starts the
        mean, whose standard deviation holds their spread."""
        with full_precision(seen.images):
            centers = centers_vox.transpose(0, 1).float() * self.spacing
            around = self.start_std * STARTS[: self.test_starts].to(centers)
            starts = (centers.unsqueeze(2) + around).flatten(1, 2)
            *_, last = self.rounds(seen, FitState.at(starts, len(self.prior.shapes)))
            return self._result(last)

    def _result(self, last: Round) -> ShapeFit:
        shapes, starts = self.prior.shapes, self.test_starts
        state = mean_of_starts(last.after, starts)
        points = state.points(shapes)
        away = last.after.points(shapes).unflatten(1, (-1, starts)) - points.unsqueeze(2)
        spread = (away * last.normals.unflatten(1, (-1, starts))).sum(-1).square().mean(2)
        variance = last.posterior.deviation().square().unflatten(1, (-1, starts)).mean(2)
        deviation = (variance + spread).sqrt() * self.deviation_factor[:, None, None]
        return ShapeFit(
            points.transpose(0, 1) / self.spacing,
            state.world(shapes).transpose(0, 1),
            deviation.transpose(0, 1),
            state.coefficients.transpose(0, 1),
            last.drawn,
        )

    def loss(self, seen: Seen, targets: FitTargets) -> dict[str, Tensor]:
        """``L_l``: negative logarithm of the Gaussian likelihood of the true offsets, mean over
        particles (of what is cut, those that are visible) and over one round of each stage; where
        regions are drawn ``L_s``, of those that are labelled."""
        particles, taught = self._draw_step()
        truth = (targets.local_vox[:, :, particles].float() * self.spacing).transpose(0, 1)
        truth = truth.repeat_interleave(self.starts, 1)
        whole, cut, fold = (
            x.transpose(0, 1).repeat_interleave(self.starts, 1)
            for x in (targets.has_shape, targets.is_cut, targets.fold)
        )
        centers = targets.centers_vox.transpose(0, 1).float() * self.spacing
        state = self.draw_starts(centers, targets.seeds, self.starts)
        with full_precision(seen.images):
            shapes = self.prior.shapes.some(particles)
            likelihoods, drawings = [], []
            for n, r in enumerate(self.rounds(seen, state, particles, taught, fold)):
                if r.drawn is not None and all(r.drawn is not other for other in drawings):
                    drawings.append(r.drawn)
                if n in taught:
                    loss = likelihood(r, truth, shapes, r.visible | whole[..., None])
                    likelihoods.append(masked_mean(loss, whole | cut))
            losses = {'L_l': torch.stack(likelihoods).mean()}
            if drawings:
                each = [self._region_loss(drawn, targets) for drawn in drawings]
                losses['L_s'] = torch.stack(each).mean()
            return losses

    def _region_loss(self, drawn: DrawnRegions, targets: FitTargets) -> Tensor:
        inside = self.region_grid.look_at_own(targets.masks.float(), drawn.pose)
        loss = region_loss(drawn.logits, inside)
        return masked_mean(loss.unsqueeze(-1), targets.labelled.transpose(0, 1))

    def _draw_step(self) -> tuple[Tensor, set[int]]:
        """Particles and rounds (one of each stage) of a training step."""
        generator = torch.Generator().manual_seed(int(self.steps))
        self.steps += 1
        order = torch.randperm(self.prior.mean.shape[1], generator=generator)
        particles = order[: self.particles_per_step].sort().values.to(self.prior.mean.device)
        first, taught = 0, set()
        for stage in self.stages:
            chosen = torch.randint(stage['rounds'], (), generator=generator)
            taught.add(first + int(chosen))
            first += stage['rounds']
        return particles, taught

    def draw_starts(self, centers_mm: Tensor, seeds: Sequence[int], starts: int) -> FitState:
        """``starts`` a box around ``centers_mm`` ``[K, B, 3]``, of each image by its seed."""
        shape = (2, len(centers_mm), starts, 3)
        noise = [torch.randn(shape, generator=torch.Generator().manual_seed(s)) for s in seeds]
        shift, turn = torch.cat(noise, 2).to(centers_mm)
        centers = centers_mm.repeat_interleave(starts, 1) + self.start_std * shift
        state = FitState.at(centers, len(self.prior.shapes))
        return replace(state, rotation=rotation_from_vector(self.start_turn * turn))


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


def likelihood(round_: Round, truth_mm: Tensor, shapes: Shapes, counted: Tensor) -> Tensor:
    """``[K, N, M]``: negative logarithm of the Gaussian likelihood of the true offsets of particles
    that are ``counted`` ``[K, N, M]``, weighed so that a row's mean is theirs; zero for the others.

    Beyond three standard deviations the square grows no steeper: wrong correspondences.
    """
    offset = truth_mm - round_.before.points(shapes)
    true = (round_.normals * offset).sum(-1)
    error = (true - round_.mean) * torch.exp(-round_.log_std)
    misfit = F.huber_loss(error, torch.zeros_like(error), reduction='none', delta=3.0)
    share = counted.float().mean(-1, keepdim=True).clamp(min=1 / counted.shape[-1])
    return (misfit + round_.log_std) * counted / share
