"""MASSM: detection, local particles and world particles in one forward pass."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor

from massm.errors import ConfigError
from massm.models.losses.reduce import mean_over_processes
from massm.models.template_bank import TemplateBank
from massm.registry import MODELS
from massm.structures import Boxes3D
from massm.structures.shape_sample import ShapeSample

# From which score an anatomy is there, until validation says better.
DEFAULT_THRESHOLD = 0.3
LOSSES = ('L_h', 'L_r', 'L_o', 'L_l', 'L_w')


@dataclass(frozen=True)
class Targets:
    """A batch's truth, stacked along a first axis: see :class:`ShapeSample`."""

    boxes: Tensor
    local_vox: Tensor
    world_mm: Tensor
    has_shape: Tensor
    has_box: Tensor
    counted: Tensor
    forcing_draw: Tensor


@dataclass(frozen=True)
class Prediction:
    """``boxes`` ``[B, K, 6]`` and ``local_vox`` ``[B, K, M, 3]`` in voxels, ``world_mm``
    ``[B, K, M, 3]``, ``scores`` ``[B, K]``."""

    boxes: Tensor
    scores: Tensor
    local_vox: Tensor
    world_mm: Tensor


@MODELS.register_module()
class MASSM(BaseModel):
    """The detector that wires backbone, neck and heads (Ukey et al., arXiv 2403.11008).

    Args:
        anatomies: names, in the order of the channels.
        num_particles: M.
        spacing: of the input volumes, mm.
        backbone, neck, dense_head, roi_extractor, local_head, world_head: configs; numbers that
            follow from the above (channels, strides, K, M) are filled in here.
        refine_head: config of a head that refines the local particles, or none (the paper).
        loss_weights: of ``L_h``, ``L_r``, ``L_o``, ``L_l``, ``L_w``; hooks may ramp them.
        template_root: dataset whose templates the model starts from; read before training.

    Raises:
        ConfigError: a loss weight is missing or unknown.
    """

    def __init__(
        self,
        anatomies: Sequence[str],
        num_particles: int,
        spacing: float,
        backbone: dict,
        neck: dict,
        dense_head: dict,
        roi_extractor: dict,
        local_head: dict,
        world_head: dict,
        loss_weights: dict[str, float],
        refine_head: dict | None = None,
        template_root: str | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        preprocessor = data_preprocessor or {'type': 'massm.VolumePreprocessor'}
        super().__init__(MODELS.build(preprocessor), init_cfg)
        if set(loss_weights) != set(LOSSES):
            raise ConfigError(f'loss_weights must name {", ".join(LOSSES)}, got {loss_weights}')
        count = len(anatomies)
        self.anatomies, self.spacing = list(anatomies), float(spacing)
        self.loss_weights = {name: float(loss_weights[name]) for name in LOSSES}
        self.teacher_forcing = 0.0
        self.template_root = template_root
        self.templates = TemplateBank(count, num_particles, spacing)
        # From which score an anatomy is there; validation sets it (ScoreThresholdHook).
        self.register_buffer('score_threshold', torch.tensor(DEFAULT_THRESHOLD))
        self.backbone = MODELS.build(backbone)
        self.neck = MODELS.build({**neck, 'in_channels': self.backbone.out_channels})
        channels, strides = neck['out_channels'], self.backbone.strides
        self.dense_head = MODELS.build(
            {
                'stride': strides[0],
                **dense_head,
                'in_channels': channels,
                'num_anatomies': count,
            }
        )
        self.roi_extractor = MODELS.build(
            {
                'strides': strides,
                **roi_extractor,
                'in_channels': channels,
                'num_anatomies': count,
            }
        )
        self.local_head = MODELS.build(
            {
                **local_head,
                'in_channels': self.roi_extractor.out_channels,
                'num_particles': num_particles,
            }
        )
        self.refine_head = refine_head and MODELS.build(
            {
                'strides': strides,
                **refine_head,
                'in_channels': channels,
                'num_anatomies': count,
                'num_particles': num_particles,
            }
        )
        self.world_head = MODELS.build(
            {**world_head, 'num_particles': num_particles, 'num_anatomies': count}
        )

    def init_weights(self) -> None:
        """Reads the templates, where a dataset is named; a checkpoint brings its own."""
        super().init_weights()
        if self.template_root is not None:
            self.templates.read(Path(self.template_root), self.anatomies)

    def optimise(self, channels_last: bool = False, compiled: bool = False, **options: Any) -> None:
        """Faster convolutions, same results and weights' names.

        Args:
            channels_last: keep weights and maps as ``[X, Y, Z, C]`` in memory (tensor cores).
            compiled: ``torch.compile`` backbone, neck and detector, for volumes of any size.
            options: of ``torch.compile``.
        """
        if channels_last:
            self.to(memory_format=torch.channels_last_3d)
        if compiled:
            for part in (self.backbone, self.neck, self.dense_head):
                part.compile(**{'dynamic': True, **options})

    def forward(
        self, inputs: Tensor, data_samples: list[ShapeSample] | None = None, mode: str = 'tensor'
    ) -> dict[str, Tensor] | list[ShapeSample] | Prediction:
        """mmengine's three modes: ``loss``, ``predict``, ``tensor``."""
        if mode == 'loss':
            return self.loss(inputs, data_samples or [])
        sizes = image_sizes(inputs, data_samples)
        prediction = self.predict_batch(inputs, sizes)
        if mode == 'tensor':
            return prediction
        threshold = self.score_threshold
        return [_fill(s, prediction, i, threshold) for i, s in enumerate(data_samples or [])]

    def predict_batch(self, inputs: Tensor, sizes: Tensor) -> Prediction:
        """Predicts a preprocessed batch ``[B, C, X, Y, Z]``; ``sizes`` ``[B, 3]`` are unpadded."""
        pyramid = self.neck(self.backbone(inputs))
        boxes, scores = self.dense_head.decode(self.dense_head(pyramid), sizes)
        local = self._local(pyramid, boxes)[-1]
        world = self.world_head(local * self.spacing, self.templates.world_mm)
        return Prediction(boxes, scores, local, world)

    def loss(self, inputs: Tensor, data_samples: list[ShapeSample]) -> dict[str, Tensor]:
        """The five weighted losses, and their unweighted values for the log (``raw/...``)."""
        truth = stack_targets(data_samples)
        sizes = image_sizes(inputs, data_samples)
        pyramid = self.neck(self.backbone(inputs))
        maps = self.dense_head(pyramid)
        losses = self.dense_head.loss(maps, truth.boxes, truth.has_box, truth.counted, sizes)

        boxes, _ = self.dense_head.decode(maps, sizes)
        # A box that missed teaches the local head nothing: it gets the true one.
        forced = truth.forcing_draw < self.teacher_forcing
        hit = Boxes3D(truth.boxes).holds(boxes[..., :3], share=0.5)
        forced = (forced | ~hit) & truth.has_shape
        boxes = torch.where(forced[..., None], truth.boxes, boxes.detach())
        rounds = self._local(pyramid, boxes)
        per_round = [self.local_head.loss(r, truth.local_vox, truth.has_shape) for r in rounds]
        losses['L_l'] = torch.stack(per_round).mean()

        shown = torch.where(forced[..., None, None], truth.local_vox, rounds[-1])
        world = self.world_head(shown * self.spacing, self.templates.world_mm)
        losses['L_w'] = self.world_head.loss(
            world / self.spacing, truth.world_mm / self.spacing, truth.has_shape
        )
        weighted = {f'loss_{k}': self.loss_weights[k] * v for k, v in losses.items()}
        return {**weighted, **{f'raw/{k}': v.detach() for k, v in losses.items()}}

    def parse_losses(self, losses: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum to be differentiated, and the values to log: means over all processes, so that
        a log shows the global batch."""
        total, values = super().parse_losses(losses)
        shared = mean_over_processes(torch.stack([v.detach() for v in values.values()]))
        return total, dict(zip(values, shared, strict=True))

    def _local(self, pyramid: list[Tensor], boxes: Tensor) -> list[Tensor]:
        """Local particles of the local head and after each round of refinement."""
        features = self.roi_extractor(pyramid, boxes)
        local = self.local_head(features, boxes, self.templates.local_vox)
        return [local, *(self.refine_head(pyramid, local) if self.refine_head else [])]


def image_sizes(inputs: Tensor, data_samples: list[ShapeSample] | None) -> Tensor:
    """``[B, 3]`` voxels of each volume before padding; the whole batch's without samples."""
    if not data_samples:
        return torch.tensor([inputs.shape[2:]] * len(inputs), device=inputs.device)
    return torch.tensor([s.image_shape for s in data_samples], device=inputs.device)


def stack_targets(data_samples: list[ShapeSample]) -> Targets:
    """Stacks the samples' targets along a batch axis."""
    return Targets(
        *(torch.stack([getattr(s, f.name) for s in data_samples]) for f in fields(Targets))
    )


def _fill(sample: ShapeSample, prediction: Prediction, i: int, threshold: Tensor) -> ShapeSample:
    sample.score_threshold = threshold
    sample.scores = prediction.scores[i]
    sample.pred_boxes = prediction.boxes[i]
    sample.pred_local_vox = prediction.local_vox[i]
    sample.pred_world_mm = prediction.world_mm[i]
    return sample
