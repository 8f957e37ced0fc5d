"""What every network of shapes has in common, whatever it finds them by."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor

from massm.io.templates import ShapeTemplate
from massm.models.shape_fit.regions import DrawnRegions
from massm.models.template_bank import TemplateBank
from massm.registry import MODELS
from massm.structures.shape_sample import ShapeSample

# From which score an anatomy is there, until validation says better.
DEFAULT_THRESHOLD = 0.3
# Batch, channels, three of space.
MAP_AXES = 5


@dataclass(frozen=True)
class Prediction:
    """``boxes`` ``[B, K, 6]`` and ``local_vox`` ``[B, K, M, 3]`` in voxels, ``world_mm``
    ``[B, K, M, 3]``, ``scores`` ``[B, K]``, each where the network gives it; ``deviation_mm``
    ``[B, K, M]``, of each particle along the surface's normal, where the head says how sure it is;
    ``mask_logits`` ``[B, K, X, Y, Z]`` where the network draws masks, ``drawn`` where it does so in
    a region around each shape."""

    boxes: Tensor | None
    scores: Tensor | None
    local_vox: Tensor | None
    world_mm: Tensor | None
    deviation_mm: Tensor | None = None
    mask_logits: Tensor | None = None
    drawn: DrawnRegions | None = None


# Where a sample keeps them.
FIELDS = {
    'boxes': 'pred_boxes',
    'scores': 'scores',
    'local_vox': 'pred_local_vox',
    'world_mm': 'pred_world_mm',
    'deviation_mm': 'pred_deviation_mm',
}


class ShapeNetwork(BaseModel):
    """A network whose anatomies have templates. A subclass has ``loss(inputs, data_samples)``, the
    losses by name, and ``predict(inputs, data_samples)``, a :class:`Prediction`.

    Args:
        anatomies: names, in the order of the channels.
        num_particles: M.
        spacing: of the input volumes, mm.
        template_root: dataset whose templates the model starts from; read before training.
    """

    def __init__(
        self,
        anatomies: Sequence[str],
        num_particles: int,
        spacing: float,
        template_root: str | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        preprocessor = data_preprocessor or {'type': 'massm.VolumePreprocessor'}
        super().__init__(MODELS.build(preprocessor), init_cfg)
        self.anatomies, self.spacing = list(anatomies), float(spacing)
        self.template_root = template_root
        self.templates = TemplateBank(len(self.anatomies), num_particles, spacing)
        # From which score each anatomy is there; validation sets it (ScoreThresholdHook).
        thresholds = torch.full((len(self.anatomies),), DEFAULT_THRESHOLD)
        self.register_buffer('score_thresholds', thresholds)

    def upgraded(self, stored: dict[str, Tensor], prefix: str = '') -> dict[str, Tensor]:
        """Weights as checkpoints keep them now; earlier ones have one threshold for all."""
        weights = dict(stored)
        shared = weights.pop(f'{prefix}score_threshold', None)
        if shared is not None:
            weights[f'{prefix}score_thresholds'] = shared.expand(len(self.anatomies)).clone()
        return weights

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(self.upgraded(state_dict, prefix), prefix, *args)

    def init_weights(self) -> None:
        """Reads the templates, where a dataset is named; a checkpoint brings its own."""
        super().init_weights()
        if self.template_root is not None:
            self.read_templates(Path(self.template_root))

    def read_templates(self, root: Path) -> list[ShapeTemplate]:
        """Takes the templates and shape models of the dataset ``root``."""
        return self.templates.read(root, self.anatomies)

    def optimise(self, channels_last: bool = False, compiled: bool = False, **options: Any) -> None:
        """Faster convolutions, same results and weights' names.

        Args:
            channels_last: keep weights and maps as ``[X, Y, Z, C]`` in memory (tensor cores).
            compiled: ``torch.compile`` what :meth:`compiled_parts` names, for volumes of any size.
            options: of ``torch.compile``.
        """
        if channels_last:
            # Not Module.to, which refuses a module that holds a tensor of four axes too.
            for tensor in (*self.parameters(), *self.buffers()):
                if tensor.dim() == MAP_AXES:
                    tensor.data = tensor.data.contiguous(memory_format=torch.channels_last_3d)
        if compiled:
            for part in self.compiled_parts():
                part.compile(**{'dynamic': True, **options})

    def compiled_parts(self) -> Sequence[torch.nn.Module]:
        """Modules worth compiling; none unless a subclass names some."""
        return ()

    def forward(
        self, inputs: Tensor, data_samples: list[ShapeSample] | None = None, mode: str = 'tensor'
    ) -> dict[str, Tensor] | list[ShapeSample] | Prediction:
        """mmengine's three modes: ``loss``, ``predict``, ``tensor``."""
        if mode == 'loss':
            return self.loss(inputs, data_samples or [])
        prediction = self.predict(inputs, data_samples)
        if mode == 'tensor':
            return prediction
        return [self._fill(s, prediction, i) for i, s in enumerate(data_samples or [])]

    def drawn_masks(
        self, prediction: Prediction, i: int, shape: tuple[int, int, int]
    ) -> Tensor | None:
        """``[K, X, Y, Z]`` half precision, which share of each voxel of the ``i``-th volume of
        ``shape`` the network draws inside."""
        if prediction.mask_logits is None:
            return None
        x, y, z = shape
        return prediction.mask_logits[i, :, :x, :y, :z].sigmoid().half()

    def _fill(self, sample: ShapeSample, prediction: Prediction, i: int) -> ShapeSample:
        sample.score_thresholds = self.score_thresholds
        for name, field in FIELDS.items():
            value = getattr(prediction, name)
            if value is not None:
                setattr(sample, field, value[i])
        masks = self.drawn_masks(prediction, i, sample.image_shape)
        if masks is not None:
            sample.pred_masks = masks
        return sample
