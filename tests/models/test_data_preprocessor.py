"""From HU to the network's channels."""

import torch

from massm.models import ResNet3D
from massm.models.data_preprocessor import VolumePreprocessor

WINDOWS = ((-1000.0, -600.0), (-200.0, 400.0))
AIR = -1000.0


def batch_of(*volumes):
    return VolumePreprocessor(WINDOWS)({'inputs': list(volumes)})['inputs']


def test_windows_become_zero_to_one_and_air_and_padding_zero():
    volume = torch.tensor([-2000.0, AIR, -800, -600, -200, 100, 400, 3000]).view(1, 8, 1, 1)
    batch = batch_of(volume, torch.full((1, 3, 5, 2), AIR))
    assert batch.shape == (2, 2, 12, 8, 4)  # a cell more than eight voxels need
    assert batch[0, 0, :8, 0, 0].tolist() == [0, 0, 0.5, 1, 1, 1, 1, 1]
    assert batch[0, 1, :8, 0, 0].tolist() == [0, 0, 0, 0, 0, 0.5, 1, 1]
    assert not batch[0, :, 8:].any() and not batch[0, :, :, 1:].any() and not batch[1].any()


def test_air_teaches_the_first_layer_nothing():
    """More air around a patient changes no gradient."""
    torch.manual_seed(0)
    body = torch.full((1, 32, 32, 32), AIR)
    body[:, 8:24, 8:24, 8:24] = torch.randn(1, 16, 16, 16) * 300
    more_air = torch.nn.functional.pad(body, [0, 64], value=AIR)
    conv = ResNet3D(10, in_channels=2, base_channels=8).conv1
    gradients = [
        torch.autograd.grad(conv(batch_of(volume)).sum(), conv.weight)[0]
        for volume in (body, more_air)
    ]
    assert torch.allclose(*gradients, rtol=1e-4)
