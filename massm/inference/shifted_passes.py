"""The mean of several passes over a slightly shifted scan.

A network whose finest map has one cell for four voxels answers a little differently when the
patient lies between cells; the mean of shifted passes depends less on where the scan begins. Passes
that found something else, the vertebra above, say, are left out of an anatomy's mean.

A shifted scan is one on a working grid that begins half a cell earlier: with more air below, or
less where there is air enough. Half a cell either way is the same place in a cell, and never are
there so many empty planes that they are taken for the scan
(:func:`massm.models.shape_fit.profiles.first_planes`).
"""

from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from massm.models.massm import MASSM
from massm.models.shape_fit.profiles import first_planes
from massm.structures import Boxes3D
from massm.structures.grid import CELL
from massm.structures.shape_sample import ShapeSample

# Voxels along each axis, half a cell at most; the first pass is not shifted.
SHIFTS = tuple(product((0, CELL // 2), repeat=3))


def predict_mean(model: MASSM, inputs: dict[str, Any], passes: int) -> list[ShapeSample]:
    """``model.test_step`` over the first ``passes`` of :data:`SHIFTS`: of every anatomy the mean of
    the passes that agree on where it is (:func:`agreeing`).

    Args:
        inputs: a collated batch, ``inputs`` ``[1, X, Y, Z]`` HU each, and ``data_samples``.
        passes: 1 to 8.
    """
    runs = []
    for shift in SHIFTS[:passes]:
        runs.append(_shifted(model, inputs, torch.tensor(shift)))
        for sample in runs[-1]:  # whole volumes, which would lie shifted and which nobody reads
            sample.pop('pred_masks', None)
    return [_mean(list(samples)) for samples in zip(*runs, strict=True)]


def _shifted(model: MASSM, inputs: dict[str, Any], shift: Tensor) -> list[ShapeSample]:
    """Predictions in the unshifted volume's voxels."""
    if not shift.any():
        return model.test_step(inputs)
    offsets = [_offset(model, volume, shift) for volume in inputs['inputs']]
    volumes = [_moved(model, *moved) for moved in zip(inputs['inputs'], offsets, strict=True)]
    samples = []
    for sample, volume in zip(inputs['data_samples'], volumes, strict=True):
        moved = ShapeSample()
        moved.set_metainfo({**sample.metainfo, 'image_shape': tuple(volume.shape[1:])})
        samples.append(moved)
    predicted = model.test_step({'inputs': volumes, 'data_samples': samples})
    for sample, shifted in zip(predicted, offsets, strict=True):
        offset = shifted.to(sample.pred_local_vox)
        sample.pred_local_vox = sample.pred_local_vox - offset
        sample.pred_boxes = torch.cat(
            [sample.pred_boxes[:, :3] - offset, sample.pred_boxes[:, 3:]], 1
        )
    return predicted


def _offset(model: MASSM, volume: Tensor, shift: Tensor) -> Tensor:
    """``[3]``: planes to add at the low ends of ``volume`` ``[1, X, Y, Z]``, or to take there where
    they are empty to the network."""
    empty = first_planes(model.data_preprocessor.normalise(volume)[None])[0].to(shift)
    return torch.where(empty >= shift, -shift, shift)


def _moved(model: MASSM, volume: Tensor, offset: Tensor) -> Tensor:
    """``volume`` with so many planes of air more, or less."""
    air = min(low for low, _ in model.data_preprocessor.windows)
    return F.pad(volume.float(), [n for k in reversed(offset.tolist()) for n in (k, 0)], value=air)


def agreeing(boxes: Tensor, scores: Tensor) -> Tensor:
    """Which passes found the same thing: those whose centres lie in the middle half of one pass's
    box, of the pass for which their scores add up to most.

    Args:
        boxes: ``[P, K, 6]`` centre and radius of each pass and anatomy, voxels.
        scores: ``[P, K]``.

    Returns:
        ``[P, K]`` bool, at least one pass an anatomy.
    """
    meets = Boxes3D(boxes[:, None]).holds(boxes[..., :3], share=0.5)
    chosen = (meets * scores).sum(1).argmax(0)
    return meets[chosen, :, torch.arange(len(chosen), device=chosen.device)].T


def _mean(samples: list[ShapeSample]) -> ShapeSample:
    first = samples[0]
    together = agreeing(
        torch.stack([s.pred_boxes for s in samples]), torch.stack([s.scores for s in samples])
    )
    share = together / together.sum(0)
    for name in ('scores', 'pred_boxes', 'pred_local_vox', 'pred_world_mm'):
        values = torch.stack([getattr(s, name) for s in samples])
        weights = share.to(values).view(*share.shape, *[1] * (values.dim() - 2))
        setattr(first, name, (weights * values).sum(0))
    if 'pred_deviation_mm' in first:
        variances = torch.stack([s.pred_deviation_mm for s in samples]).square()
        first.pred_deviation_mm = (share[..., None].to(variances) * variances).sum(0).sqrt()
    return first
