"""MASSM: detection, local particles and world particles in one forward pass."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from massm.errors import ConfigError
from massm.io.templates import ShapeTemplate
from massm.models.losses.reduce import mean_over_processes
from massm.models.precision import in_full_precision
from massm.models.roi_heads.shape_fit_head import FitTargets, Seen
from massm.models.shape_network import Prediction, ShapeNetwork
from massm.registry import MODELS
from massm.shape.alignment import rigidly_onto
from massm.structures import Boxes3D
from massm.structures.shape_sample import ShapeSample

LOSSES = ('L_h', 'L_r', 'L_o', 'L_l', 'L_w')
LOSSES_OF_FIT = LOSSES[:3]
LOSS_OF_MASKS = 'L_s'


@dataclass(frozen=True)
class Targets:
    """A batch's truth, stacked along a first axis: see :class:`ShapeSample`."""

    boxes: Tensor
    local_vox: Tensor
    world_mm: Tensor
    has_shape: Tensor
    has_box: Tensor
    is_cut: Tensor
    counted: Tensor
    forcing_draw: Tensor


@MODELS.register_module()
class MASSM(ShapeNetwork):
    """The detector that wires backbone, neck and heads (Ukey et al., arXiv 2403.11008).

    Args:
        anatomies: names, in the order of the channels.
        num_particles: M.
        spacing: of the input volumes, mm.
        backbone, neck, dense_head, roi_extractor, local_head, world_head: configs; numbers that
            follow from the above (channels, strides, K, M) are filled in here.
        refine_head: config of a head that refines the local particles, or none (the paper).
        mask_head: config of a head that draws masks, or none (the paper).
        loss_weights: of ``L_h``, ``L_r``, ``L_o``, ``L_l``, ``L_w``, and of ``L_s`` with a
            ``mask_head``; hooks may ramp them.
        template_root: dataset whose templates the model starts from; read before training.

    Without a ``roi_extractor`` the local head fits shapes to the image itself
    (:class:`ShapeFitHead`); it gives world particles too, and there is no ``world_head``, no
    ``L_l`` and no ``L_w``.

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
        local_head: dict,
        loss_weights: dict[str, float],
        roi_extractor: dict | None = None,
        world_head: dict | None = None,
        refine_head: dict | None = None,
        mask_head: dict | None = None,
        template_root: str | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            anatomies, num_particles, spacing, template_root, data_preprocessor, init_cfg
        )
        losses = LOSSES if roi_extractor else LOSSES_OF_FIT
        draws = mask_head or local_head.get('region')
        losses = (*losses, LOSS_OF_MASKS) if draws else losses
        if set(loss_weights) != set(losses):
            raise ConfigError(f'loss_weights must name {", ".join(losses)}, got {loss_weights}')
        count = len(anatomies)
        self.loss_weights = {name: float(loss_weights[name]) for name in losses}
        self.teacher_forcing = 0.0
        self.backbone = MODELS.build(backbone)
        self.neck = MODELS.build({**neck, 'in_channels': self.backbone.out_channels})
        channels, strides = neck['out_channels'], self.backbone.strides
        finest = {'in_channels': channels, 'num_anatomies': count}
        self.dense_head = MODELS.build({'stride': strides[0], **dense_head, **finest})
        self.mask_head = mask_head and MODELS.build({'stride': strides[0], **mask_head, **finest})
        sizes = {'num_anatomies': count, 'num_particles': num_particles}
        self.roi_extractor = self.refine_head = self.world_head = None
        if roi_extractor is None:
            seen = {'in_channels': backbone.get('in_channels', 1), 'spacing': spacing}
            self.local_head = MODELS.build({**local_head, **sizes, **seen})
            return
        levels = {'in_channels': channels, 'num_anatomies': count}
        self.roi_extractor = MODELS.build({'strides': strides, **roi_extractor, **levels})
        inside = {'in_channels': self.roi_extractor.out_channels, 'num_particles': num_particles}
        self.local_head = MODELS.build({**local_head, **inside})
        self.refine_head = refine_head and MODELS.build(
            {'strides': strides, **refine_head, **levels, **sizes}
        )
        self.world_head = MODELS.build({**world_head, **sizes})

    def read_templates(self, root: Path) -> list[ShapeTemplate]:
        """Takes the templates and shape models of the dataset ``root``."""
        templates = super().read_templates(root)
        for head in (self.dense_head, self.local_head, self.world_head):
            if hasattr(head, 'read_templates'):
                head.read_templates(templates, self.spacing)
        return templates

    def compiled_parts(self) -> Sequence[torch.nn.Module]:
        """Backbone, neck and detector."""
        return self.backbone, self.neck, self.dense_head

    def predict(self, inputs: Tensor, data_samples: list[ShapeSample] | None) -> Prediction:
        """:meth:`predict_batch` of samples that say how large each volume is."""
        return self.predict_batch(inputs, image_sizes(inputs, data_samples))

    def drawn_masks(
        self, prediction: Prediction, i: int, shape: tuple[int, int, int]
    ) -> Tensor | None:
        """Where regions are drawn, what lies in them."""
        if prediction.drawn is None:
            return super().drawn_masks(prediction, i, shape)
        return self.local_head.region_grid.masks(prediction.drawn, i, shape)

    def predict_batch(self, inputs: Tensor, sizes: Tensor) -> Prediction:
        """Predicts a preprocessed batch ``[B, C, X, Y, Z]``; ``sizes`` ``[B, 3]`` are unpadded."""
        pyramid, boxes, scores = self.detect(inputs, sizes)
        masks = self.mask_head and self.mask_head(pyramid)
        if self.roi_extractor is None:
            return self._fit(Seen.of_scan(inputs, sizes), boxes, scores, masks)
        local = self._local(pyramid, boxes)[-1]
        world = self.world_head(local * self.spacing, self.templates.world_mm)
        return Prediction(boxes, scores, local, world, mask_logits=masks)

    def detect(self, inputs: Tensor, sizes: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """The pyramid, boxes ``[B, K, 6]`` (voxels) and scores ``[B, K]``; arguments as for
        :meth:`predict_batch`."""
        pyramid = self.neck(self.backbone(inputs))
        boxes, scores = self.dense_head.decode(self.dense_head(pyramid), sizes)
        return pyramid, boxes, scores

    def scores(self, inputs: Tensor, sizes: Tensor) -> Tensor:
        """``[B, K]`` of :meth:`predict_batch`, and no more work than they need."""
        if getattr(self.local_head, 'weighs_scores', False):
            return self.predict_batch(inputs, sizes).scores
        return self.detect(inputs, sizes)[2]

    def loss(self, inputs: Tensor, data_samples: list[ShapeSample]) -> dict[str, Tensor]:
        """The weighted losses, and their unweighted values for the log (``raw/...``)."""
        truth = stack_targets(data_samples)
        sizes = image_sizes(inputs, data_samples)
        pyramid = self.neck(self.backbone(inputs))
        maps = self.dense_head(pyramid)
        placed = truth.has_box | (truth.is_cut & truth.counted)
        losses = self.dense_head.loss(maps, truth.boxes, placed, truth.counted, sizes)
        if self.mask_head is not None:
            drawn = self.mask_head(pyramid)
            true, labelled = stack_masks(data_samples, drawn.shape[2:])
            losses[LOSS_OF_MASKS] = self.mask_head.loss(drawn, true, labelled, sizes)
        if self.roi_extractor is None:
            fitted = self._fit_losses(inputs, sizes, maps, truth, data_samples)
            losses.update({name: losses.get(name, 0) + value for name, value in fitted.items()})
        else:
            losses.update(self._regression_losses(pyramid, maps, truth, sizes))
        weighted = {f'loss_{k}': self.loss_weights[k] * v for k, v in losses.items()}
        return {**weighted, **{f'raw/{k}': v.detach() for k, v in losses.items()}}

    def _fit_losses(
        self,
        inputs: Tensor,
        sizes: Tensor,
        maps: Any,
        truth: Targets,
        data_samples: list[ShapeSample],
    ) -> dict[str, Tensor]:
        """``L_s`` of a head that fits shapes to the image, where it draws regions."""
        if self.local_head.region_network is None:
            return {}
        masks, labelled = stack_masks(data_samples, inputs.shape[2:])
        # What the scan itself cuts has a mask and no box: there regions lie where it is found.
        with torch.no_grad():
            found, _ = self.dense_head.decode(maps, sizes)
        placed = (truth.has_box | truth.is_cut)[..., None]
        centers = torch.where(placed, truth.boxes[..., :3], found[..., :3].to(truth.boxes))
        seeds = [sample.seed for sample in data_samples]
        targets = FitTargets(centers, seeds, masks, labelled)
        return self.local_head.loss(Seen.of_scan(inputs, sizes), targets)

    def _regression_losses(
        self, pyramid: list[Tensor], maps: Any, truth: Targets, sizes: Tensor
    ) -> dict[str, Tensor]:
        """``L_l`` and ``L_w`` of the paper's heads."""
        boxes, _ = self.dense_head.decode(maps, sizes)
        # A box that missed teaches the local head nothing: it gets the true one.
        forced = truth.forcing_draw < self.teacher_forcing
        hit = Boxes3D(truth.boxes).holds(boxes[..., :3], share=0.5)
        forced = (forced | ~hit) & truth.has_shape
        boxes = torch.where(forced[..., None], truth.boxes, boxes.detach())
        rounds = self._local(pyramid, boxes)
        per_round = [self.local_head.loss(r, truth.local_vox, truth.has_shape) for r in rounds]

        shown = torch.where(forced[..., None, None], truth.local_vox, rounds[-1])
        world = self.world_head(shown * self.spacing, self.templates.world_mm)
        world_loss = self.world_head.loss(
            world / self.spacing, truth.world_mm / self.spacing, truth.has_shape
        )
        return {'L_l': torch.stack(per_round).mean(), 'L_w': world_loss}

    def parse_losses(self, losses: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum to be differentiated, and the values to log: means over all processes, so that
        a log shows the global batch."""
        total, values = super().parse_losses(losses)
        shared = mean_over_processes(torch.stack([v.detach() for v in values.values()]))
        return total, dict(zip(values, shared, strict=True))

    def _fit(self, seen: Seen, boxes: Tensor, scores: Tensor, masks: Tensor | None) -> Prediction:
        """Shapes fitted to the image from the detector's centres; boxes are those of the shapes,
        scores the geometric means of the detector's and of how far the volume bears the shapes out,
        where these count."""
        fit = self.local_head.predict(seen, boxes[..., :3])
        if self.local_head.weighs_scores:
            scores = (scores * fit.support.to(scores)).sqrt()
        found = Boxes3D.from_points(fit.local_vox).tensor
        world = in_full_precision(rigidly_onto, fit.world_mm, self.templates.world_mm)
        deviation = fit.deviation_mm
        return Prediction(found, scores, fit.local_vox, world, deviation, masks, fit.drawn)

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


def stack_masks(data_samples: list[ShapeSample], shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Masks padded to the batch's ``shape``, ``[B, K, X, Y, Z]`` in [0, 1], and which are
    labelled ``[B, K]``.

    Raises:
        ConfigError: the pipeline loads none.
    """
    if not data_samples or 'masks' not in data_samples[0]:
        raise ConfigError(
            'a network that draws masks learns from them: add LoadMasks to the train pipeline'
        )
    labelled = torch.stack([sample.labelled for sample in data_samples])
    masks = torch.zeros(*labelled.shape, *shape, device=labelled.device)
    for i, sample in enumerate(data_samples):
        x, y, z = sample.masks.shape[1:]
        masks[i, :, :x, :y, :z] = sample.masks
    return masks, labelled
