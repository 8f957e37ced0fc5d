"""Several passes over a scan are one answer about one place."""

import pytest
import torch

from massm.inference.shifted_passes import SHIFTS, predict_mean
from massm.models.data_preprocessor import VolumePreprocessor
from massm.models.shape_fit.profiles import Seen
from massm.structures.grid import CELL
from massm.structures.shape_sample import ShapeSample

RADIUS = torch.tensor([12.0, 12, 8])
SHAPE = torch.tensor([[8.0, 0, 0], [0, 8, 0], [0, 0, -8]])


class Passes:
    """A network that finds the two anatomies at the next of ``places`` ``[2, 3]`` in the scan."""

    def __init__(self, *passes) -> None:
        self.passes, self.volumes = list(passes), []
        self.data_preprocessor = VolumePreprocessor(windows=((-200.0, 300.0), (-800.0, 0.0)))

    def test_step(self, batch):
        places, scores = self.passes.pop(0)
        volume, sample = batch['inputs'][0], ShapeSample()
        assert batch['data_samples'][0].image_shape == volume.shape[1:]
        self.volumes.append(volume)
        # A shifted pass sees the scan moved by as much as its volume is larger.
        moved = places + torch.tensor(volume.shape[1:]) - 100
        sample.scores = torch.tensor(scores)
        sample.pred_boxes = torch.cat([moved, RADIUS.expand(2, 3)], 1)
        sample.pred_local_vox = moved[:, None] + SHAPE
        sample.pred_world_mm = SHAPE.expand(2, 3, 3).clone()
        return [sample]


def mean_of(*passes):
    batch = {
        'inputs': [torch.zeros(1, 100, 100, 100)],
        'data_samples': [ShapeSample(metainfo={'image_shape': (100, 100, 100)})],
    }
    return predict_mean(Passes(*passes), batch, len(passes))[0]


SPINE = torch.tensor([[50.0, 50, 50], [30, 30, 30]])
VERTEBRA_UP = torch.tensor([[0.0, 0, 12], [0, 0, 0]])
JITTER = torch.tensor([[1.0, 0, -1], [-1, 2, 0]])


def test_passes_that_agree_are_averaged():
    out = mean_of((SPINE, [0.9, 0.8]), (SPINE + JITTER, [0.7, 0.6]))
    assert torch.allclose(out.pred_local_vox, (SPINE + JITTER / 2)[:, None] + SHAPE)
    assert out.scores.tolist() == pytest.approx([0.8, 0.7])


def test_passes_a_vertebra_apart_do_not_meet_half_way():
    """The surer one is believed, for that anatomy alone."""
    out = mean_of((SPINE + VERTEBRA_UP, [0.6, 0.8]), (SPINE + JITTER, [0.7, 0.6]))
    assert torch.allclose(out.pred_local_vox[0], (SPINE + JITTER)[0] + SHAPE)
    assert torch.allclose(out.pred_boxes[0, :3], (SPINE + JITTER)[0])
    assert out.scores[0].item() == pytest.approx(0.7)
    assert torch.allclose(out.pred_local_vox[1], (SPINE + JITTER / 2)[1] + SHAPE)


def test_the_place_that_most_passes_found_is_believed():
    others = [(SPINE + sign * JITTER, [0.5, 0.5]) for sign in (1, -1, 0)]
    out = mean_of((SPINE + VERTEBRA_UP, [0.9, 0.5]), *others)
    assert torch.allclose(out.pred_local_vox[0], SPINE[0] + SHAPE)


@pytest.mark.parametrize('empty', range(CELL))
def test_no_pass_takes_air_below_the_scan_for_the_scan(empty):
    generator = torch.Generator().manual_seed(empty)
    volume = 100 * torch.randn(1, 24, 20, 16, generator=generator)
    # Air as a scanner has it is nothing but air to the network.
    volume[:, :, :, :empty] = -1000 + 0.1 * volume[:, :, :, :empty]
    network = Passes(*[(SPINE, [0.9, 0.8])] * len(SHIFTS))
    sample = ShapeSample(metainfo={'image_shape': (24, 20, 16)})
    predict_mean(network, {'inputs': [volume], 'data_samples': [sample]}, len(SHIFTS))
    places = set()
    for shift, moved in zip(SHIFTS, network.volumes, strict=True):
        offset = torch.tensor(moved.shape[1:]) - torch.tensor(volume.shape[1:])
        assert (offset.abs() == torch.tensor(shift)).all()
        sizes = torch.tensor([moved.shape[1:]])
        seen = Seen.of_scan(network.data_preprocessor.normalise(moved)[None], sizes)
        first = torch.tensor([0, 0, empty])
        assert (seen.first[0] == first + offset).all()
        x, y, z = seen.first[0].tolist()
        assert torch.equal(moved[:, x:, y:, z:], volume[:, :, :, empty:])
        places.add(tuple((offset % CELL).tolist()))
    assert len(places) == len(SHIFTS)
