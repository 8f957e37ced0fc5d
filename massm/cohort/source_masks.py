"""One anatomy's mask as a source has it, looked at before it is believed."""

from pathlib import Path

import numpy as np

from massm.errors import ImageError
from massm.io.nifti import read_mask
from massm.structures import Grid

# More of a mask than this off its largest part: the part is not the anatomy.
LOST_SHARE = 0.1


def read_source_mask(path: Path, grid: Grid) -> np.ndarray:
    """The mask at ``path`` on the CT's ``grid``.

    Raises:
        ImageError: it cannot be read, is no mask of one anatomy, or lies on another grid.
    """
    mask, mask_grid = read_mask(path)
    if not mask_grid.is_close(grid, tolerance_mm=0.25 * float(grid.spacing.min())):
        raise ImageError(
            f'{path}: the mask is {mask.shape} with origin {mask_grid.affine[:3, 3].round(2)} but '
            f'the CT is {grid.shape} with origin {grid.affine[:3, 3].round(2)}; resample the mask '
            'onto the CT'
        )
    if mask[np.ix_(*[(0, -1)] * 3)].all():
        raise ImageError(
            f'{path}: {100 * mask.mean():.0f} % of the volume are set, its corners too; is the '
            'mask inverted? Set the anatomy to 1 and the rest to 0'
        )
    return mask


def check_distinct(masks: dict[str, str], name: str, digest: str, path: Path) -> None:
    """Refuses one mask under two names; enters ``digest`` of the mask of ``name`` into ``masks``.

    Raises:
        ImageError: see above.
    """
    earlier = next((other for other, known in masks.items() if known == digest), None)
    if earlier is not None:
        raise ImageError(
            f'{path}: is the same mask as {earlier}; give each anatomy the mask of its own'
        )
    masks[name] = digest
