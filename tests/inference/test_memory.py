"""What is refused as too large, on a GPU that is not there."""

from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch

from massm.cohort.working_volume import BYTES_PER_VOXEL
from massm.errors import ImageError
from massm.inference.memory import check_memory, network_bytes
from massm.structures import Grid

GRID = Grid((100, 100, 100), np.diag([2.0, 2, 2, 1]))
MODEL = SimpleNamespace(backbone=torch.nn.Conv3d(1, 32, 3), mask_head=None, anatomies=['spleen'])
NETWORK, RESAMPLING = network_bytes(GRID, MODEL), 10**6 * BYTES_PER_VOXEL


@pytest.fixture
def memory(monkeypatch):
    """``memory(host, free, kept)``: bytes of the host, of the GPU, and that torch keeps there."""

    def has(host, free=0, kept=0):
        told = {'mem_get_info': (free, 2**40), 'memory_reserved': kept + 7, 'memory_allocated': 7}
        for name, value in told.items():
            monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
        virtual = SimpleNamespace(available=host)
        monkeypatch.setattr(psutil, 'virtual_memory', lambda: virtual)

    return has


def check(device):
    check_memory('ct.nii', GRID, MODEL, torch.device(device))


def test_what_torch_keeps_of_the_last_scan_is_free_for_the_next(memory):
    memory(RESAMPLING, free=NETWORK // 4, kept=NETWORK)
    check('cuda')
    memory(RESAMPLING, free=NETWORK // 4, kept=NETWORK // 2)
    with pytest.raises(ImageError, match='GiB are free'):
        check('cuda')


def test_a_scan_must_fit_into_the_host_too(memory):
    memory(RESAMPLING - 1, free=2 * NETWORK)
    with pytest.raises(ImageError, match='GiB are free'):
        check('cuda')
    memory(RESAMPLING + NETWORK)
    check('cpu')
    memory(RESAMPLING + NETWORK - 1)
    with pytest.raises(ImageError, match='GiB are free'):
        check('cpu')
