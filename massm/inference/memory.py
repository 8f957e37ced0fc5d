"""Whether a volume fits into memory, before it is tried."""

import torch

from massm.cohort.working_volume import BYTES_PER_VOXEL
from massm.cohort.working_volume import check_memory as check_fits
from massm.models.massm import MASSM
from massm.structures import Grid

# The network's largest maps at once, in floats per voxel and base channel: measured on ResNet-18
# with 32 channels (2.1 GiB for 26 million voxels), with some to spare.
FLOATS_PER_CHANNEL = 0.5
# Copies at once of the masks that a network draws, floats per voxel and anatomy.
MASK_COPIES = 3


def network_bytes(working: Grid, model: MASSM) -> int:
    """An estimate of what the network takes for ``working``, beside its weights."""
    channels = next(model.backbone.parameters()).shape[0]
    floats = FLOATS_PER_CHANNEL * channels
    if model.mask_head is not None:
        floats += MASK_COPIES * len(model.anatomies)
    return int(_voxels(working) * 4 * floats)


def check_memory(source: str, working: Grid, model: MASSM, device: torch.device) -> None:
    """Refuses a volume that would not fit: it is resampled in the host's memory, and the network
    runs in that of ``device``.

    Raises:
        ImageError: with both numbers.
    """
    resampling, network = _voxels(working) * BYTES_PER_VOXEL, network_bytes(working, model)
    if device.type == 'cuda':
        check_fits(source, working, resampling)
        check_fits(source, working, network, _free_bytes(device))
    else:
        check_fits(source, working, resampling + network)


def _free_bytes(device: torch.device) -> int:
    """Of a GPU, with what torch keeps of earlier volumes and gives to the next."""
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + kept


def _voxels(grid: Grid) -> int:
    return grid.shape[0] * grid.shape[1] * grid.shape[2]
