"""The mean of several passes over a slightly shifted scan.

A network whose finest map has one cell for four voxels answers a little differently when the
patient lies between cells; the mean of shifted passes depends less on where the scan begins.
"""

from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from massm.models.massm import MASSM
from massm.structures.grid import CELL
from massm.structures.shape_sample import ShapeSample

# Voxels along each axis, half a cell at most; the first pass is not shifted.
SHIFTS = tuple(product((0, CELL // 2), repeat=3))


def predict_mean(model: MASSM, inputs: dict[str, Any], passes: int) -> list[ShapeSample]:
    """``model.test_step`` over the first ``passes`` of :data:`SHIFTS`, its outputs averaged.

    Args:
        inputs: a collated batch, ``inputs`` ``[1, X, Y, Z]`` HU each, and ``data_samples``.
        passes: 1 to 8.
    """
    runs = [_shifted(model, inputs, torch.tensor(shift)) for shift in SHIFTS[:passes]]
    return [_mean(list(samples)) for samples in zip(*runs, strict=True)]


def _shifted(model: MASSM, inputs: dict[str, Any], shift: Tensor) -> list[ShapeSample]:
    """Predictions in the unshifted volume's voxels."""
    if not shift.any():
        return model.test_step(inputs)
    low = [n for k in reversed(shift.tolist()) for n in (k, 0)]
    volumes = [F.pad(v[None].float(), low, mode='replicate')[0] for v in inputs['inputs']]
    samples = []
    for sample in inputs['data_samples']:
        moved = ShapeSample()
        size = tuple(int(n + k) for n, k in zip(sample.image_shape, shift, strict=True))
        moved.set_metainfo({**sample.metainfo, 'image_shape': size})
        samples.append(moved)
    predicted = model.test_step({'inputs': volumes, 'data_samples': samples})
    for sample in predicted:
        offset = shift.to(sample.pred_local_vox)
        sample.pred_local_vox = sample.pred_local_vox - offset
        sample.pred_boxes = torch.cat(
            [sample.pred_boxes[:, :3] - offset, sample.pred_boxes[:, 3:]], 1
        )
    return predicted


def _mean(samples: list[ShapeSample]) -> ShapeSample:
    first = samples[0]
    for name in ('scores', 'pred_boxes', 'pred_local_vox', 'pred_world_mm'):
        setattr(first, name, torch.stack([getattr(s, name) for s in samples]).mean(0))
    return first
