"""How a model directory keeps the network's tensors: whole, in half precision, or in eight bits."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

# Tensors of more numbers than this take less room, but for those that must be exact: learnt numbers
# are near one, positions of templates are not.
LARGE = 1024
EXACT = (
    'templates.', 'dense_head.prior', 'local_head.prior.mean', 'local_head.prior.frames',
    'world_head.mean',
)  # fmt: skip
# Neighbours in memory that share a scale.
BLOCK = 64
SCALE = '::scale'


def in_half(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``state`` with large tensors in half precision."""
    return {k: v.half() if _is_shrinkable(k, v) else v for k, v in state.items()}


def in_eight_bits(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``state`` with large tensors as whole numbers from -127 to 127 times a scale for every
    ``BLOCK`` of neighbours, which stands beside them: off by at most 1/254 of the block's largest.
    Indices are kept in 32 bits."""
    stored: dict[str, Tensor] = {}
    for key, value in state.items():
        if value.dtype == torch.int64:
            stored[key] = value.int()
        elif not _is_shrinkable(key, value):
            stored[key] = value
        else:
            blocks = _blocks(value.float())
            scale = (blocks.abs().amax(1, keepdim=True) / 127).clamp(min=1e-30)
            numbers = (blocks / scale).round().clamp(-127, 127).to(torch.int8)
            stored[key] = numbers.flatten()[: value.numel()].view(value.shape).clone()
            stored[key + SCALE] = scale.flatten()
    return stored


def restored(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What :func:`in_eight_bits` or :func:`in_half` left, as a network loads it."""
    state = {}
    for key, value in stored.items():
        if key.endswith(SCALE):
            continue
        if (scale := stored.get(key + SCALE)) is not None:
            numbers = _blocks(value.float()) * scale.unsqueeze(1)
            value = numbers.flatten()[: value.numel()].view(value.shape)
        if value.dtype == torch.int32:
            value = value.long()
        state[key] = value.float() if value.dtype == torch.float16 else value
    return state


def _is_shrinkable(key: str, value: Tensor) -> bool:
    return value.is_floating_point() and value.numel() > LARGE and not key.startswith(EXACT)


def _blocks(values: Tensor) -> Tensor:
    flat = values.flatten()
    return F.pad(flat, (0, -len(flat) % BLOCK)).view(-1, BLOCK)
