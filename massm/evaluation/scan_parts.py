"""Parts of a scan as scans of their own: what lies beyond their ends is known not to be there."""

from collections.abc import Iterator, Sequence

from torch import Tensor

from massm.structures.grid import CELL
from massm.structures.shape_sample import ShapeSample

LEAST_SLICES = 12


def slices_as_scan(volume: Tensor, first: int, last: int) -> tuple[Tensor, int]:
    """Slices ``first`` to ``last`` of a prepared ``[C, X, Y, Z]`` as it would be if the scan had no
    others, and its first slice's number: working grids begin at multiples of a cell, with nothing
    in them below the scan."""
    begin = first // CELL * CELL
    part = volume[..., begin:last].clone()
    part[..., : first - begin] = volume.min()
    return part, begin


def scan_parts(
    volume: Tensor, sample: ShapeSample, heights: Sequence[float]
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """What is below and what is above axial planes through a scan.

    Args:
        volume: ``[C, X, Y, Z]``.
        sample: its truth.
        heights: of the planes, shares of Z. A part of fewer than a dozen slices is no scan.

    Yields:
        The part, and which anatomies are whole in it and which are known not to be in it ``[K]``.
    """
    slices = volume.shape[-1]
    low, high = sample.local_vox[..., 2].amin(1), sample.local_vox[..., 2].amax(1)
    never = sample.counted & ~sample.has_box
    for height in heights:
        middle = round(height * slices)
        for first, last in ((0, middle), (middle, slices)):
            if last - first >= LEAST_SLICES:
                whole = sample.has_box & (low >= first) & (high <= last - 1)
                beyond = sample.has_box & ((high < first - 1) | (low > last))
                yield slices_as_scan(volume, first, last)[0], whole, never | beyond
