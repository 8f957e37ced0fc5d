"""Overlap of what is drawn with what is there, differentiable (Milletari et al. 2016)."""

from torch import Tensor


def soft_dice(drawn: Tensor, inside: Tensor) -> Tensor:
    """``[A, B]``: the Dice coefficient of two shares in [0, 1], ``[A, B, X, Y, Z]``.

    One voxel more above and below: where nothing is there and nothing drawn, it is one.
    """
    overlap, size, true = (x.flatten(2).sum(2) for x in (drawn * inside, drawn, inside))
    return (2 * overlap + 1) / (size + true + 1)
