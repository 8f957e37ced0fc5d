"""The end of every pipeline: an input tensor and a :class:`ShapeSample`."""

from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform

from massm.registry import TRANSFORMS
from massm.shape.alignment import rigidly_onto
from massm.structures import Boxes3D
from massm.structures.modality import DEFAULT_MODALITY
from massm.structures.shape_sample import ShapeSample

META = ('id', 'anatomies', 'spacing')


@TRANSFORMS.register_module()
class PackShapeInputs(BaseTransform):
    """Gives ``inputs`` ``[1, X, Y, Z]`` float32 (in the
    modality's unit) and ``data_samples``.

    Boxes and world particles are derived here from the local particles, so that they fit them
    after any augmentation: the box is the particles' extent, the world particles their rigid fit
    to the template. Where masks were loaded, the sample has ``masks`` and ``labelled``.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """See the class."""
        local = torch.as_tensor(results['local_vox'], dtype=torch.float32)
        has_box, has_shape, is_cut = (
            torch.as_tensor(results[key]) for key in ('has_box', 'has_shape', 'is_cut')
        )
        sample = ShapeSample(
            metainfo={
                **{key: results[key] for key in META},
                'modality': results.get('modality', DEFAULT_MODALITY),
                'status': [status.value for status in results['status']],
                'affine': np.array(results['grid'].affine),
                'image_shape': tuple(results['volume'].shape),
                'image': results['image'],
                'mesh': results.get('mesh'),
                'mask': results.get('mask'),
            }
        )
        sample.local_vox, sample.has_shape, sample.has_box = local, has_shape, has_box
        sample.is_cut = is_cut
        sample.world_mm = _world(local, results['spacing'], results['template_world'], has_shape)
        boxes = Boxes3D.from_points(local).tensor
        sample.boxes = torch.where((has_box | is_cut)[:, None], boxes, torch.zeros_like(boxes))
        sample.counted = torch.as_tensor(results['counted'])
        for key in ('masks', 'labelled'):
            if key in results:
                setattr(sample, key, torch.as_tensor(results[key]))
        sample.forcing_draw = torch.tensor([results['rng'].random()], dtype=torch.float32)
        sample.set_metainfo({'seed': int(results['rng'].integers(2**31))})
        volume = torch.as_tensor(results['volume'], dtype=torch.float32)[None]
        return {'inputs': volume, 'data_samples': sample}


def _world(
    local_vox: torch.Tensor, spacing: float, template: np.ndarray, has_shape: torch.Tensor
) -> torch.Tensor:
    """``[K, M, 3]`` mm: the rigid fit of each shape to its template, zero where there is none."""
    local_mm = local_vox.double() * spacing
    world = rigidly_onto(local_mm, torch.as_tensor(template))
    return torch.where(has_shape[:, None, None], world, torch.zeros_like(world)).float()
