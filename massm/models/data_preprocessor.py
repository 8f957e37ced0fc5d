"""From volumes of any size to one normalised, padded batch."""

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseDataPreprocessor

from massm.registry import MODELS
from massm.structures.grid import CELL


@MODELS.register_module()
class VolumePreprocessor(BaseDataPreprocessor):
    """One channel per window, each clipped and scaled to [0, 1]; pads each axis of the batch,
    at its far end, as air (0) to the next larger multiple of ``size_divisor``.

    A volume that ends with its last cell is padded by one more: to a network that learnt from
    volumes which end within a cell, maps without air at the end are strange, and it misplaces what
    is cut there (benchmarks/accuracy.md).

    Air is 0, so that it and the convolutions' own padding are one, and teach the first layer
    nothing: at any other value its gradient is a sum over all air that cancels only in theory.

    Args:
        windows: lowest and highest value of each channel, HU (an MR is 0 without signal and
            1000 in bright tissue); several let a small network see lung and soft tissue with
            contrast at once.
        size_divisor: the stride of the finest map. Coarser maps round up, so that a batch is
            padded by a few voxels and not to the largest stride.
    """

    def __init__(
        self,
        windows: tuple[tuple[float, float], ...] = ((-1000.0, 1000.0),),
        size_divisor: int = CELL,
    ) -> None:
        super().__init__()
        self.windows, self.size_divisor = windows, size_divisor

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """``inputs``: list of ``[1, X, Y, Z]`` tensors, to ``[B, C, X', Y', Z']``."""
        data = self.cast_data(data)
        volumes = [self.normalise(volume) for volume in data['inputs']]
        sizes = torch.tensor([v.shape[1:] for v in volumes])
        step = self.size_divisor
        padded = ((sizes.amax(0) // step + 1) * step).tolist()
        data['inputs'] = torch.stack([_pad(v, padded) for v in volumes])
        return data

    def normalise(self, volume: torch.Tensor) -> torch.Tensor:
        """``[..., 1, X, Y, Z]`` to a channel in [0, 1] per window."""
        return torch.cat([_scale(volume.float(), *window) for window in self.windows], -4)


def _scale(volume: torch.Tensor, low: float, high: float) -> torch.Tensor:
    return (volume.clamp(low, high) - low) / (high - low)


def _pad(volume: torch.Tensor, size: list[int]) -> torch.Tensor:
    pads: list[int] = []
    for axis in (3, 2, 1):
        pads += [0, size[axis - 1] - volume.shape[axis]]
    return F.pad(volume, pads)
