"""From HU volumes of any size to one normalised, padded batch."""

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseDataPreprocessor

from massm.registry import MODELS


@MODELS.register_module()
class VolumePreprocessor(BaseDataPreprocessor):
    """Clips to a window, scales it to [-1, 1] and pads each axis of the batch, at its far end,
    with the window's lower edge to a multiple of ``size_divisor``.

    Args:
        window: lowest and highest HU that matter.
        size_divisor: the network's largest stride.
    """

    def __init__(
        self, window: tuple[float, float] = (-1000.0, 1000.0), size_divisor: int = 32
    ) -> None:
        super().__init__()
        self.window, self.size_divisor = window, size_divisor

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """``inputs``: list of ``[1, X, Y, Z]`` HU tensors, to ``[B, 1, X', Y', Z']``."""
        data = self.cast_data(data)
        low, high = self.window
        volumes = [
            2 * (v.float().clamp(low, high) - low) / (high - low) - 1 for v in data['inputs']
        ]
        sizes = torch.tensor([v.shape[1:] for v in volumes])
        step = self.size_divisor
        padded = ((sizes.amax(0) + step - 1) // step * step).tolist()
        data['inputs'] = torch.stack([_pad(v, padded) for v in volumes])
        return data


def _pad(volume: torch.Tensor, size: list[int]) -> torch.Tensor:
    pads: list[int] = []
    for axis in (3, 2, 1):
        pads += [0, size[axis - 1] - volume.shape[axis]]
    return F.pad(volume, pads, value=-1.0)
