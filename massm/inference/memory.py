"""Whether a volume fits into memory, before it is tried."""

import torch

from massm.cohort import working_volume
from massm.models.massm import MASSM
from massm.structures import Grid

# The network's largest maps at once, in floats per voxel and base channel: measured on ResNet-18
# with 32 channels (2.1 GiB for 26 million voxels), with some to spare.
FLOATS_PER_CHANNEL = 0.5
# Copies at once of the masks that a network draws, floats per voxel and anatomy.
MASK_COPIES = 3


def needed_bytes(working: Grid, model: MASSM) -> int:
    """An estimate of what inference on ``working`` takes beside the model."""
    voxels = working.shape[0] * working.shape[1] * working.shape[2]
    channels = next(model.backbone.parameters()).shape[0]
    floats = FLOATS_PER_CHANNEL * channels
    if model.mask_head is not None:
        floats += MASK_COPIES * len(model.anatomies)
    return int(voxels * (working_volume.BYTES_PER_VOXEL + 4 * floats))


def check_memory(source: str, working: Grid, model: MASSM, device: torch.device) -> None:
    """Refuses a volume that would not fit.

    Raises:
        ImageError: with both numbers.
    """
    free = torch.cuda.mem_get_info(device)[0] if device.type == 'cuda' else None
    working_volume.check_memory(source, working, needed_bytes(working, model), free)
