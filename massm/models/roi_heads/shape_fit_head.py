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
    LINES,
    Around,
    Seen,
    image_profiles,
    mask_profiles,
    profile_pattern,
    visible,
)
from massm.models.shape_fit.shape_prior import ShapePrior, Shapes
from massm.registry import MODELS

# Where fits of a box start in use, in the starts' standard deviations.
STARTS = torch.cat([torch.zeros(1, 3), torch.eye(3), -torch.eye(3)])


@dataclass(frozen=True)
class Round:
    """One round: the state it began with, what was seen (offsets along ``normals``
    ``[K, N, M, 3]`` and logarithms of their standard deviations ``[K, N, M]``, mm), and the
    posterior."""

    before: FitState
    normals: Tensor
    mean: Tensor
    log_std: Tensor
    posterior: Posterior
    after: FitState


@dataclass(frozen=True)
class ShapeFit:
    """``local_vox`` and ``world_mm`` ``[B, K, M, 3]``, the particles' standard deviations along
    their normals ``deviation_mm`` ``[B, K, M]``, ``coefficients`` ``[B, K, L]``."""

    local_vox: Tensor
    world_mm: Tensor
    deviation_mm: Tensor
    coefficients: Tensor


@MODELS.register_module()
class ShapeFitHead(BaseModule):
    """Fits K shape models.

    Args:
        num_anatomies, num_particles: K and M.
        in_channels: of the images it reads.
        reads_mask: whether it also reads the anatomy's own mask, as the network draws it.
        spacing: of the volume, mm.
        stages: in order, each with ``reach`` and ``beside`` of the profiles (mm), ``rounds``, and
            ``modes`` that may move.
        samples: on a profile.
        starts: fits a box in training, each from its own start.
        particles_per_step: of every anatomy in a training step, drawn anew in each; all without.
            Neighbours see almost the same, so that more subjects teach more than more particles.
        start_std: of the starts' distance from the true centre in training, mm an axis.
        start_turn: of their rotation, radians.
        test_starts: fits a box in use: from its centre and ``start_std`` beside it along the axes,
            at most seven.
        hidden, code: see :class:`OffsetNetwork`.
        independence: share of the particles that count as independent measurements; neighbours
            err alike.
        prior: of :class:`ShapePrior`.
    """

    def __init__(
        self,
        num_anatomies: int,
        num_particles: int,
        in_channels: int,
        spacing: float,
        stages: Sequence[dict],
        reads_mask: bool = False,
        samples: int = 13,
        starts: int = 4,
        particles_per_step: int | None = None,
        start_std: float = 4.0,
        start_turn: float = 0.05,
        test_starts: int = 1,
        hidden: int = 96,
        code: int = 16,
        independence: float = 0.15,
        prior: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.spacing, self.stages = spacing, list(stages)
        self.starts, self.start_std, self.start_turn = starts, start_std, start_turn
        self.test_starts = min(test_starts, len(STARTS))
        self.particles_per_step = min(particles_per_step or num_particles, num_particles)
        self.independence = independence
        # What validation says of the standard deviations: a factor, and which mean (mm) is usual.
        self.register_buffer('deviation_factor', torch.ones(num_anatomies))
        self.register_buffer('usual_uncertainty', torch.full((num_anatomies,), torch.inf))
        # Counted so that what is drawn is the same in every process and after a resumption.
        self.register_buffer('steps', torch.zeros((), dtype=torch.long))
        self.prior = ShapePrior(num_anatomies, num_particles, **(prior or {}))
        for i, stage in enumerate(self.stages):
            pattern = profile_pattern(stage['reach'], samples, stage['beside'])
            self.register_buffer(f'pattern_{i}', pattern, persistent=False)
        self.reads_mask = reads_mask
        shown = in_channels * LINES * samples
        reaches = [self.stages[i]['reach'] for i in self.stage_of_rounds]
        self.filters = LinearOffsets(num_anatomies, num_particles, shown, reaches)
        inside = shown + reads_mask * LINES * samples
        self.networks = nn.ModuleList(
            OffsetNetwork(num_anatomies, num_particles, inside, hidden, code, stage['reach'])
            for stage in self.stages
        )

    def read_templates(self, templates: Sequence[ShapeTemplate], spacing: float) -> None:
        """Takes the shape models of ``templates``; filters and calibration of earlier ones are
        forgotten."""
        self.prior.read(templates)
        self.filters.forget()
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
    ) -> Iterator[Round]:
        """The fit, round by round; each begins where the last ended, without gradient.

        Args:
            seen: a batch of B.
            state: N starts; N is a multiple of B, starts of an image together.
            particles: indices of those that are looked at; all without.
            taught: rounds whose offsets carry gradients; all without.
        """
        shapes = self.prior.shapes if particles is None else self.prior.shapes.some(particles)
        independence = self.independence * (self.prior.mean.shape[1] / shapes.mean.shape[1])
        learning = torch.is_grad_enabled()
        for r, i in enumerate(self.stage_of_rounds):
            normals, around = self.look_around(state, shapes)
            pattern = self.pattern(r)
            profile = image_profiles(seen, around, pattern)
            linear, log_spread = self.filters(r, profile, particles)
            if self.reads_mask:
                profile = torch.cat([profile, mask_profiles(seen, around, pattern)], -1)
            with torch.set_grad_enabled(learning and (taught is None or r in taught)):
                said = (profile, linear, log_spread, shapes.patches, particles)
                mean, log_std = self.networks[i](*said)
            precision = independence * torch.exp(-2 * log_std.detach()) * visible(seen, around)
            offsets = Offsets(mean.detach(), precision)
            found = posterior(state, shapes, normals, offsets, self.modes(r))
            after = moved(state, shapes, found.best)
            yield Round(state, normals, mean, log_std, found, after)
            state = after

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
        )

    def loss(
        self,
        seen: Seen,
        boxes: Tensor,
        local_vox: Tensor,
        has_shape: Tensor,
        seeds: Sequence[int],
    ) -> Tensor:
        """``L_l``: negative logarithm of the Gaussian likelihood of the true offsets, mean over
        particles and over one round of each stage.

        Args:
            seen: a batch of B.
            boxes: ``[B, K, 6]`` true boxes; starts are drawn around their centres.
            local_vox: ``[B, K, M, 3]`` true particles.
            has_shape: ``[B, K]``.
            seeds: of each image's starts, so that they depend on nothing but the sample.
        """
        particles, taught = self._draw_step()
        truth = (local_vox[:, :, particles].float() * self.spacing).transpose(0, 1)
        truth = truth.repeat_interleave(self.starts, 1)
        exists = has_shape.transpose(0, 1).repeat_interleave(self.starts, 1)
        centers = boxes[..., :3].transpose(0, 1).float() * self.spacing
        state = self.draw_starts(centers, seeds, self.starts)
        with full_precision(seen.images):
            shapes = self.prior.shapes.some(particles)
            losses = [
                masked_mean(likelihood(r, truth, shapes), exists)
                for n, r in enumerate(self.rounds(seen, state, particles, taught))
                if n in taught
            ]
            return torch.stack(losses).mean()

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


def mean_of_starts(state: FitState, starts: int) -> FitState:
    """``[K, N * starts]`` fits to the ``[K, N]`` means of their poses and coefficients: a shape of
    the model that turns with the patient."""
    rotation, translation, coefficients, start = (
        x.unflatten(1, (-1, starts)).mean(2)
        for x in (state.rotation, state.translation, state.coefficients, state.start)
    )
    u, _, v = torch.linalg.svd(rotation)  # the nearest rotation to the mean of near ones
    return FitState(u @ v, translation, coefficients, start)


def likelihood(round_: Round, truth_mm: Tensor, shapes: Shapes) -> Tensor:
    """``[K, N, M]``: negative logarithm of the Gaussian likelihood of the true offsets.

    Beyond three standard deviations the square grows no steeper: wrong correspondences.
    """
    offset = truth_mm - round_.before.points(shapes)
    true = (round_.normals * offset).sum(-1)
    error = (true - round_.mean) * torch.exp(-round_.log_std)
    return (
        F.huber_loss(error, torch.zeros_like(error), reduction='none', delta=3.0) + round_.log_std
    )
