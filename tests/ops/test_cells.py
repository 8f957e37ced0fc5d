import pytest
import torch

from massm.models import FPN3D, ResNet3D
from massm.ops import cell_to_voxel, double_resolution, sample_volume, voxel_to_cell


def test_cells_and_voxels_are_inverse():
    cells = torch.rand(10, 3) * 20
    assert torch.allclose(voxel_to_cell(cell_to_voxel(cells, 4), 4), cells)


@pytest.mark.parametrize('level, stride', [(0, 4), (1, 8), (2, 16)])
def test_an_impulse_through_the_network_lands_on_cell_times_stride(level, stride):
    """Convolutions of ones with no norm: the response to an impulse at voxel c*s is symmetric
    around cell c, which pins the convention of ops.cells."""
    net = ResNet3D(depth=10, base_channels=1, norm_cfg={'type': 'GN', 'num_groups': 1})
    neck = FPN3D(net.out_channels, 1, {'type': 'GN', 'num_groups': 1})
    for module in [*net.modules(), *neck.modules()]:
        if isinstance(module, torch.nn.Conv3d):
            torch.nn.init.constant_(module.weight, 1e-2)
            if module.bias is not None:
                torch.nn.init.zeros_(module.bias)
        for name, child in list(module.named_children()):
            if isinstance(child, torch.nn.GroupNorm):
                setattr(module, name, torch.nn.Identity())
    # MaxPool of an impulse is flat over its window, as symmetric as the rest.
    cell = 128 // stride // 2
    volume = torch.zeros(1, 1, 128, 32, 32)
    volume[..., cell * stride, 16, 16] = 1
    with torch.no_grad():
        response = neck(net(volume))[level].sum((0, 1, 3, 4))
    position = (response * torch.arange(len(response))).sum() / response.sum()
    assert position.item() == pytest.approx(cell, abs=0.02)


def test_doubling_keeps_cells_on_twice_their_index():
    coarse = torch.randn(1, 2, 3, 4, 5)
    fine = double_resolution(coarse, (6, 7, 10))
    assert fine.shape == (1, 2, 6, 7, 10)
    assert torch.allclose(fine[..., ::2, ::2, ::2], coarse, atol=1e-6)


def test_sampling_at_integers_returns_the_voxels_in_xyz_order():
    volume = torch.arange(24.0).view(1, 1, 2, 3, 4)
    points = torch.tensor([[1.0, 2, 3], [0, 1, 2], [0.5, 0, 0]]).view(1, 3, 1, 1, 3)
    assert sample_volume(volume, points).flatten().tolist() == pytest.approx([23, 6, 6])


def test_a_map_in_half_precision_is_sampled_at_the_same_places():
    generator = torch.Generator().manual_seed(0)
    volume = torch.randn(1, 3, 48, 40, 44, generator=generator).bfloat16()
    points = torch.rand(1, 500, 1, 1, 3, generator=generator) * 40
    reference = sample_volume(volume.float(), points)
    assert torch.equal(sample_volume(volume, points), reference.bfloat16())
    ramp = torch.arange(48.0).view(1, 1, 48, 1, 1).expand(1, 1, 48, 40, 44)
    assert torch.equal(
        sample_volume(ramp.bfloat16(), points), sample_volume(ramp, points).bfloat16()
    )
