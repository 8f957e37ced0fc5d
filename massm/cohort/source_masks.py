"""One anatomy's mask as a source has it, looked at before it is believed."""

import numpy as np

from massm.errors import ImageError
from massm.structures import Grid

# More of a mask than this off its largest part: the part is not the anatomy.
LOST_SHARE = 0.1


def check_grid(own: Grid, grid: Grid, where: str) -> None:
    """Refuses a mask on another grid than the image's.

    Raises:
        ImageError: see above.
    """
    if not own.is_close(grid, tolerance_mm=0.25 * float(grid.spacing.min())):
        raise ImageError(
            f'{where}: the mask is {own.shape} with origin {own.affine[:3, 3].round(2)} but '
            f'the image is {grid.shape} with origin {grid.affine[:3, 3].round(2)}; resample the '
            'mask onto the image'
        )


def check_inside(mask: np.ndarray, where: str) -> None:
    """Refuses a mask that is set where no anatomy ends: in all corners of the volume.

    Raises:
        ImageError: see above.
    """
    if mask[np.ix_(*[(0, -1)] * 3)].all():
        raise ImageError(
            f'{where}: {100 * mask.mean():.0f} % of the volume are set, its corners too; is the '
            'mask inverted? Set the anatomy to 1 and the rest to 0'
        )


def check_distinct(masks: dict[str, str], name: str, digest: str, where: str) -> None:
    """Refuses one mask under two names; enters ``digest`` of the mask of ``name`` into ``masks``.

    Raises:
        ImageError: see above.
    """
    earlier = next((other for other, known in masks.items() if known == digest), None)
    if earlier is not None:
        raise ImageError(
            f'{where}: is the same mask as {earlier}; give each anatomy the mask of its own'
        )
    masks[name] = digest
