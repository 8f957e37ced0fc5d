"""Positions are not for bfloat16: its eight bits tell 40 voxels from 40.25 at best."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def in_full_precision(function: Callable[..., Any], *tensors: Tensor) -> Any:
    """``function(*tensors)``, in float32 where autocast is on.

    For the layers and formulas whose results are positions in voxels or mm.
    """
    if not torch.is_autocast_enabled(tensors[0].device.type):
        return function(*tensors)
    with full_precision(tensors[0]):
        return function(*(tensor.float() for tensor in tensors))


def full_precision(tensor: Tensor) -> torch.autocast:
    """A context without autocast on the device of ``tensor``."""
    return torch.autocast(tensor.device.type, enabled=False)
