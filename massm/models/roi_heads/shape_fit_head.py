"""Local and world particles by fitting the shape model to the image; an addition to the paper.

From a rough centre, rounds of: look along every particle's normal, say how far off it is and how
sure that is, take the closed-form posterior of pose and modes. Wide and coarse first, narrow and
fine later (docs/decisions/shape-fit.md).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from massm.io.templates import ShapeTemplate
from massm.models.losses.focal_regression import masked_mean
from massm.models.precision import full_precision
from massm.models.shape_fit.offset_network import OffsetNetwork
from massm.models.shape_fit.posterior import (
    FitState,
    Offsets,
    Posterior,
    moved,
    posterior,
    rotation_from_vector,
)
from massm.models.shape_fit.profiles import LINES, inside_volume, profile_pattern
from massm.models.shape_fit.shape_prior import ShapePrior
from massm.ops import sample_patterns
from massm.registry import MODELS

# Tissues differ by a tenth of a window or two: around zero and this much larger, what they have in
# common does not drown it (benchmarks/accuracy.md).
CONTRAST = 4.0


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
        spacing: of the volume, mm.
        stages: in order, each with ``reach`` and ``beside`` of the profiles (mm), ``rounds``, and
            ``modes`` that may move.
        samples: on a profile.
        starts: fits a box in training, each from its own start.
        start_std: of the starts' distance from the true centre in training, mm an axis.
        start_turn: of their rotation, radians.
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
        samples: int = 13,
        starts: int = 4,
        start_std: float = 4.0,
        start_turn: float = 0.05,
        hidden: int = 96,
        code: int = 16,
        independence: float = 0.15,
        prior: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.spacing, self.stages = spacing, list(stages)
        self.starts, self.start_std, self.start_turn = starts, start_std, start_turn
        self.register_buffer('independence', torch.tensor(independence))
        self.prior = ShapePrior(num_anatomies, num_particles, **(prior or {}))
        for i, stage in enumerate(self.stages):
            pattern = profile_pattern(stage['reach'], samples, stage['beside'])
            self.register_buffer(f'pattern_{i}', pattern, persistent=False)
        inside = in_channels * LINES * samples
        self.networks = nn.ModuleList(
            OffsetNetwork(num_anatomies, num_particles, inside, hidden, code, stage['reach'])
            for stage in self.stages
        )

    def read_templates(self, templates: Sequence[ShapeTemplate], spacing: float) -> None:
        """Takes the shape models of ``templates``."""
        self.prior.read(templates)

    def rounds(self, images: Tensor, sizes: Tensor, state: FitState) -> Iterator[Round]:
        """The fit, round by round; each begins where the last ended, without gradient.

        Args:
            images: ``[B, C, X, Y, Z]`` in [0, 1]; ``sizes`` ``[B, 3]`` their voxels before padding.
            state: N starts; N is a multiple of B, starts of an image together.
        """
        for i, (stage, network) in enumerate(zip(self.stages, self.networks, strict=True)):
            pattern = getattr(self, f'pattern_{i}')
            for _ in range(stage['rounds']):
                points = state.points(self.prior)
                frames = state.turned(self.prior.frames[:, None].expand(*points.shape, 3))
                seen, there = self._look(images, sizes, points, frames, pattern)
                mean, log_std = network(seen, self.prior.patches)
                precision = self.independence * torch.exp(-2 * log_std.detach())
                offsets = Offsets(mean.detach(), precision * there)
                normals = frames[..., 0, :]
                found = posterior(state, self.prior, normals, offsets, stage['modes'])
                after = moved(state, self.prior, found.best)
                yield Round(state, normals, mean, log_std, found, after)
                state = after

    def predict(self, images: Tensor, sizes: Tensor, centers_vox: Tensor) -> ShapeFit:
        """Fits every anatomy from its centre ``[B, K, 3]`` (voxels)."""
        with full_precision(images):
            centers = centers_vox.transpose(0, 1).float() * self.spacing
            *_, last = self.rounds(images, sizes, FitState.at(centers, len(self.prior)))
            return self._result(last)

    def _result(self, last: Round) -> ShapeFit:
        local = last.after.points(self.prior).transpose(0, 1)
        world = last.after.world(self.prior).transpose(0, 1)
        return ShapeFit(
            local / self.spacing,
            world,
            last.posterior.deviation().transpose(0, 1),
            last.after.coefficients.transpose(0, 1),
        )

    def loss(
        self,
        images: Tensor,
        sizes: Tensor,
        boxes: Tensor,
        local_vox: Tensor,
        has_shape: Tensor,
        seeds: Sequence[int],
    ) -> Tensor:
        """``L_l``: negative logarithm of the Gaussian likelihood of the true offsets, mean over
        particles and rounds.

        Args:
            boxes: ``[B, K, 6]`` true boxes; starts are drawn around their centres.
            local_vox: ``[B, K, M, 3]`` true particles.
            has_shape: ``[B, K]``.
            seeds: of each image's starts, so that they depend on nothing but the sample.
        """
        truth = (local_vox.float() * self.spacing).transpose(0, 1)
        truth = truth.repeat_interleave(self.starts, 1)
        exists = has_shape.transpose(0, 1).repeat_interleave(self.starts, 1)
        state = self._draw(boxes[..., :3].transpose(0, 1).float() * self.spacing, seeds)
        with full_precision(images):
            rounds = self.rounds(images, sizes, state)
            losses = [masked_mean(likelihood(r, truth, self.prior), exists) for r in rounds]
            return torch.stack(losses).mean()

    def _draw(self, centers_mm: Tensor, seeds: Sequence[int]) -> FitState:
        """Starts around ``centers_mm`` ``[K, B, 3]``, several a box."""
        shape = (2, len(centers_mm), self.starts, 3)
        noise = [torch.randn(shape, generator=torch.Generator().manual_seed(s)) for s in seeds]
        shift, turn = torch.cat(noise, 2).to(centers_mm)
        centers = centers_mm.repeat_interleave(self.starts, 1) + self.start_std * shift
        state = FitState.at(centers, len(self.prior))
        return replace(state, rotation=rotation_from_vector(self.start_turn * turn))

    def _look(
        self, images: Tensor, sizes: Tensor, points: Tensor, frames: Tensor, pattern: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Profiles ``[K, N, M, C * 5 * samples]`` and which particles lie in the volume."""
        batch = len(images)
        # By image first: [B, K, N / B, M, ...].
        where = points.unflatten(1, (batch, -1)).transpose(0, 1) / self.spacing
        turned = frames.unflatten(1, (batch, -1)).transpose(0, 1) / self.spacing
        seen = sample_patterns(images, where.flatten(1, 3), turned.flatten(1, 3), pattern)
        seen = CONTRAST * (seen.flatten(2).view(*where.shape[:-1], -1) - 0.5)
        there = inside_volume(where, sizes)
        return seen.transpose(0, 1).flatten(1, 2), there.transpose(0, 1).flatten(1, 2)


def likelihood(round_: Round, truth_mm: Tensor, prior: ShapePrior) -> Tensor:
    """``[K, N, M]``: negative logarithm of the Gaussian likelihood of the true offsets.

    Beyond three standard deviations the square grows no steeper: wrong correspondences.
    """
    offset = truth_mm - round_.before.points(prior)
    true = (round_.normals * offset).sum(-1)
    error = (true - round_.mean) * torch.exp(-round_.log_std)
    return (
        F.huber_loss(error, torch.zeros_like(error), reduction='none', delta=3.0) + round_.log_std
    )
