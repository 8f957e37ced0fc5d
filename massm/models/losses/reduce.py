"""Numbers that agree over processes."""

from mmengine.dist import all_reduce, get_world_size
from torch import Tensor


def mean_count(count: Tensor) -> Tensor:
    """The mean over processes of a count, at least one per global batch.

    Gradients are averaged over processes, so dividing each process's sum by this mean gives the
    loss one process would have with the whole batch.
    """
    world_size = get_world_size()
    return (world_size * mean_over_processes(count.float())).clamp(min=1.0) / world_size


def mean_over_processes(values: Tensor) -> Tensor:
    """The mean of every process's ``values``, without gradient."""
    total = values.detach().clone()
    all_reduce(total)
    return total / get_world_size()
