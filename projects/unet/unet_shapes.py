"""UNets that draw masks, and the shapes of what they drew."""

import logging
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from massm.cohort.shape_folder import is_built, load_model
from massm.errors import ConfigError, DatasetError, ShapeError
from massm.io.templates import ShapeTemplate
from massm.models.dense_heads.segmentation_head import inside_sizes, mask_loss
from massm.models.massm import image_sizes, stack_masks
from massm.models.shape_network import Prediction, ShapeNetwork
from massm.registry import MODELS
from massm.shape.alignment import rigidly_onto
from massm.shape.correspondence_model import CorrespondenceModel
from massm.shape.reconstruction import largest_part
from massm.structures import Grid
from massm.structures.shape_sample import ShapeSample
from projects.unet.surfaces import mask_box, mask_particles, mean_shape_at

# Almost all voxels belong to no anatomy: logits start there.
FIRST_LOGIT = -6.0


@MODELS.register_module()
class UNetShapes(ShapeNetwork):
    """One UNet for all anatomies, or one for each, side by side, that share nothing but the batch.

    A mask is where an anatomy is at least as likely as not, or, where it is nowhere likely, at
    least half as likely as where it is likeliest: so that something is always drawn. In a test, the
    largest part's surface gets particles from the dataset's fixed correspondence model.

    Args:
        network: ``type`` ``UNet`` or ``DynUNet`` (MONAI's), ``channels`` of its levels and what
            else that class takes.
        per_anatomy: a network for each.

    Raises:
        ConfigError: the type is neither.
    """

    def __init__(
        self,
        anatomies: Sequence[str],
        num_particles: int,
        spacing: float,
        network: dict,
        per_anatomy: bool = False,
        template_root: str | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(
            anatomies, num_particles, spacing, template_root, data_preprocessor, init_cfg
        )
        inside = len(self.data_preprocessor.windows)
        count = len(self.anatomies)
        each, networks = (1, count) if per_anatomy else (count, 1)
        self.networks = nn.ModuleList(build_unet(network, inside, each) for _ in range(networks))
        self.first_logit = nn.Parameter(torch.full((count, 1, 1, 1), FIRST_LOGIT))
        self._models = cache(_correspondence_model)

    def read_templates(self, root: Path) -> list[ShapeTemplate]:
        """As every network, and sees to it that surfaces can be given particles.

        Raises:
            DatasetError: the particles of an anatomy were imported.
        """
        for name in self.anatomies:
            if not is_built(root / 'shapes' / name):
                raise DatasetError(
                    f'{root / "shapes" / name}: its particles were imported, and what a UNet draws '
                    'can only be laid on correspondences that massm pdm built'
                )
        return super().read_templates(root)

    def logits(self, inputs: Tensor) -> Tensor:
        """``[B, C, X, Y, Z]`` to ``[B, K, X, Y, Z]``."""
        return torch.cat([net(inputs) for net in self.networks], 1).float() + self.first_logit

    def loss(self, inputs: Tensor, data_samples: list[ShapeSample]) -> dict[str, Tensor]:
        """Soft Dice and cross entropy of the anatomies that are labelled."""
        logits = self.logits(inputs)
        masks, labelled = stack_masks(data_samples, logits.shape[2:])
        sizes = image_sizes(inputs, data_samples)
        return {'loss_masks': mask_loss(logits, masks, labelled, sizes)}

    def predict(self, inputs: Tensor, data_samples: list[ShapeSample] | None) -> Prediction:
        """Scores, the highest probabilities; and logits that are positive in the masks."""
        sizes = image_sizes(inputs, data_samples)
        logits = self.logits(inputs)
        logits = logits.masked_fill(~inside_sizes(logits, sizes), -math.inf)
        scores = logits.flatten(2).amax(2).sigmoid()
        lowest = torch.logit(torch.where(scores > 0.501, 0.5, scores / 2), eps=1e-30)
        return Prediction(
            None, scores, None, None, mask_logits=logits - lowest[..., None, None, None]
        )

    def forward(
        self, inputs: Tensor, data_samples: list[ShapeSample] | None = None, mode: str = 'tensor'
    ) -> dict[str, Tensor] | list[ShapeSample] | Prediction:
        """mmengine's three modes; of masks that are predicted, the largest parts."""
        found = super().forward(inputs, data_samples, mode)
        for sample in found if mode == 'predict' else ():
            masks = np.stack([largest_part(mask) for mask in sample.pred_masks.cpu().numpy()])
            sample.pred_masks = torch.as_tensor(masks)
            sample.pred_boxes = torch.as_tensor(
                np.stack([mask_box(mask) for mask in masks]), dtype=torch.float32
            )
        return found

    def test_step(self, data: dict) -> list[ShapeSample]:
        """Masks and boxes as in validation; and particles, which take a second each."""
        samples = super().test_step(data)
        for sample in samples:
            self._add_particles(sample)
        return samples

    def _add_particles(self, sample: ShapeSample) -> None:
        grid = Grid(sample.image_shape, sample.affine)
        shapes = [
            self._particles(sample, k, mask, grid)
            for k, mask in enumerate(sample.pred_masks.numpy())
        ]
        local = torch.as_tensor(np.stack(shapes))
        template = self.templates.world_mm.cpu().double()
        sample.pred_world_mm = rigidly_onto(local, template).float()
        sample.pred_local_vox = torch.as_tensor(grid.to_voxel(local.numpy()), dtype=torch.float32)

    def _particles(self, sample: ShapeSample, k: int, mask: np.ndarray, grid: Grid) -> np.ndarray:
        model = self._models(self.template_root, self.anatomies[k])
        try:
            return mask_particles(mask, grid, model)
        except ShapeError as error:
            print_log(
                f'UNetShapes: {sample.id}/{self.anatomies[k]}: {error}; the mean shape is put '
                'where it lies',
                'current',
                logging.WARNING,
            )
            return mean_shape_at(mask, grid, model)


def build_unet(network: dict, in_channels: int, out_channels: int) -> nn.Module:
    """MONAI's UNet or DynUNet of ``network``'s ``channels``, each level of half the resolution.

    Raises:
        ConfigError: another ``type``.
    """
    from monai.networks.nets import DynUNet, UNet

    settings = dict(network)
    kind, channels = settings.pop('type'), settings.pop('channels')
    size = {'spatial_dims': 3, 'in_channels': in_channels, 'out_channels': out_channels}
    down = [2] * (len(channels) - 1)
    if kind == 'UNet':
        return UNet(**size, channels=channels, strides=down, **settings)
    if kind == 'DynUNet':
        kernels = [3] * len(channels)
        return DynUNet(
            **size,
            kernel_size=kernels,
            strides=[1, *down],
            upsample_kernel_size=down,
            filters=channels,
            **settings,
        )
    raise ConfigError(f'network.type must be UNet or DynUNet, got {kind!r}')


def _correspondence_model(root: str | None, anatomy: str) -> CorrespondenceModel:
    if root is None:
        raise ConfigError('UNetShapes: template_root names no dataset to take correspondences from')
    return load_model(Path(root) / 'shapes' / anatomy)
