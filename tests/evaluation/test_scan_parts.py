import torch

from massm.evaluation.scan_parts import scan_parts, slices_as_scan
from massm.structures.shape_sample import ShapeSample


def sample(*spans, counted=True):
    """Anatomies that reach from one slice to another, the last of them known not to be there."""
    truth = ShapeSample()
    heights = torch.tensor([*spans, (0.0, 0.0)])
    truth.local_vox = torch.stack([torch.zeros_like(heights)] * 2 + [heights], -1)
    truth.has_box = torch.tensor([True] * len(spans) + [False])
    truth.counted = torch.tensor([True] * len(spans) + [counted])
    return truth


def test_parts_show_what_is_whole_in_them_and_know_what_is_beyond():
    volume = torch.arange(40.0).expand(1, 2, 2, 40)
    truth = sample((2.0, 15.0), (18.0, 25.0), (30.0, 39.0))
    below, above = scan_parts(volume, truth, [0.5])
    assert below[0].shape[-1] == above[0].shape[-1] == 20 and above[0][0, 0, 0, 0] == 20
    assert below[1].tolist() == [True, False, False, False]
    assert below[2].tolist() == [False, False, True, True]
    assert above[1].tolist() == [False, False, True, False]
    assert above[2].tolist() == [True, False, False, True]


def test_a_part_begins_where_its_working_grid_would():
    """At a multiple of four slices, with nothing in those below the part."""
    volume = torch.arange(40.0).expand(1, 2, 2, 40) - 7
    part, begin = slices_as_scan(volume, 18, 40)
    assert begin == 16 and part[0, 0, 0].tolist() == [-7.0, -7.0, *range(11, 33)]
    assert slices_as_scan(volume, 0, 18)[0].shape[-1] == 18 and volume[0, 0, 0, 16] == 9


def test_what_nobody_annotated_is_neither_and_a_few_slices_are_no_scan():
    volume = torch.zeros(1, 2, 2, 40)
    parts = list(scan_parts(volume, sample((2.0, 6.0), counted=False), [0.2]))
    assert len(parts) == 1 and parts[0][0].shape[-1] == 32
    assert parts[0][1].tolist() == [False, False] and parts[0][2].tolist() == [True, False]
