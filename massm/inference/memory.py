"""Whether a volume fits into memory, before it is tried."""

import psutil
import torch

from massm.errors import ImageError
from massm.models.massm import MASSM
from massm.structures import Grid

# The network's largest maps at once, in floats per voxel and base channel: measured on ResNet-18
# with 32 channels (2.1 GiB for 26 million voxels), with some to spare.
FLOATS_PER_CHANNEL = 0.5
FLOATS_PER_VOXEL = 8


def needed_bytes(working: Grid, model: MASSM) -> int:
    """An estimate of what inference on ``working`` takes beside the model."""
    voxels = working.shape[0] * working.shape[1] * working.shape[2]
    channels = next(model.backbone.parameters()).shape[0]
    return int(4 * voxels * (FLOATS_PER_VOXEL + FLOATS_PER_CHANNEL * channels))


def check_memory(source: str, working: Grid, model: MASSM, device: torch.device) -> None:
    """Refuses a volume that would not fit.

    Raises:
        ImageError: with both numbers.
    """
    needed = needed_bytes(working, model)
    if device.type == 'cuda':
        available = torch.cuda.mem_get_info(device)[0]
    else:
        available = psutil.virtual_memory().available
    if needed > available:
        raise ImageError(
            f'{source}: {"x".join(map(str, working.shape))} voxels at {model.spacing:g} mm need '
            f'about {needed / 2**30:.1f} GiB, {available / 2**30:.1f} GiB are free; crop the volume'
        )
