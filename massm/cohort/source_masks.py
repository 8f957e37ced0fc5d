"""One anatomy's mask as a source has it, looked at before it is believed."""

import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

from massm.errors import ImageError
from massm.structures import Grid

# More of a mask than this off its largest part: the part is not the anatomy.
LOST_SHARE = 0.1


def on_grid(voxels: np.ndarray, own: Grid, grid: Grid, where: str, oriented: bool) -> np.ndarray:
    """``voxels`` of the grid ``own`` as they lie on the image's ``grid``: a mask may be stored in
    another order or direction of the axes.

    Args:
        oriented: whether the mask's file says how it lies in the patient; what does not is never
            turned, since left and right could be exchanged.

    Raises:
        ImageError: they are other voxels than the image's.
    """
    tolerance = 0.25 * float(grid.spacing.min())
    if own.is_close(grid, tolerance):
        return voxels
    if oriented:
        turn = io_orientation(np.linalg.inv(grid.affine) @ own.affine)
        turned = apply_orientation(voxels, turn)
        there = Grid(turned.shape, own.affine @ inv_ornt_aff(turn, own.shape))
        if there.is_close(grid, tolerance):
            return np.ascontiguousarray(turned)
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


def check_distinct(masks: dict[str, str], name: str, identity: str, where: str) -> None:
    """Refuses one mask under two names; enters the ``identity`` of that of ``name`` into ``masks``.

    Raises:
        ImageError: see above.
    """
    earlier = next((other for other, known in masks.items() if known == identity), None)
    if earlier is not None:
        raise ImageError(
            f'{where}: is the same mask as {earlier}; give each anatomy the mask of its own'
        )
    masks[name] = identity
