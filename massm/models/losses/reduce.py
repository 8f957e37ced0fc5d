"""Normalisers that agree over processes."""

from mmengine.dist import all_reduce, get_world_size
from torch import Tensor


def mean_over_ranks(count: Tensor) -> Tensor:
    """The mean over processes of a count, at least one per global batch.

    Gradients are averaged over ranks, so dividing each rank's sum by this mean gives the loss one
    process would have with the whole batch.
    """
    total = count.detach().clone().float()
    all_reduce(total)
    return total.clamp(min=1.0) / get_world_size()
