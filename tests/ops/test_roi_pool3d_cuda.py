"""The CUDA kernels against the reference; skipped where there is no GPU."""

import pytest
import torch

from massm.ops import extension, roi_pool3d
from massm.ops.roi_pool3d_reference import roi_pool3d_reference

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU here')


@pytest.fixture(autouse=True)
def compiled():
    assert extension.is_compiled('cuda')


def boxes(generator, count, batch, extent):
    low = torch.rand(count, 3, generator=generator) * extent * 1.2 - 0.2 * extent
    high = low + torch.rand(count, 3, generator=generator) * extent
    index = torch.randint(batch, (count, 1), generator=generator)
    return torch.cat([index.float(), low, high], 1)


@pytest.mark.parametrize('mode', ['max', 'align'])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last_3d])
def test_random_boxes_agree_with_float64(mode, dtype, layout):
    tolerance = {torch.float32: 1e-5, torch.float16: 2e-2, torch.bfloat16: 1e-1}[dtype]
    for seed in range(50):
        generator = torch.Generator().manual_seed(seed)
        volume = torch.randn(2, 5, 9, 6, 11, generator=generator).to(dtype)
        rois = boxes(generator, 40, 2, 40)
        on_gpu = volume.cuda().contiguous(memory_format=layout).requires_grad_()
        out = roi_pool3d(on_gpu, rois.cuda(), 4, 0.25, mode)
        weights = torch.rand(out.shape, generator=generator)
        (out.float() * weights.cuda()).sum().backward()
        truth = volume.double().requires_grad_()
        expected = roi_pool3d_reference(truth, rois, (4, 4, 4), 0.25, mode)
        assert torch.allclose(out.double().cpu(), expected, atol=0 if mode == 'max' else tolerance)
        if dtype == torch.float32 and mode == 'align':
            (expected * weights).sum().backward()
            assert torch.allclose(on_gpu.grad.double().cpu(), truth.grad, atol=1e-4)


@pytest.mark.parametrize('mode', ['max', 'align'])
def test_the_deterministic_backward_repeats_itself_to_the_bit(mode):
    generator = torch.Generator().manual_seed(0)
    volume = torch.randn(2, 8, 16, 16, 16, generator=generator).cuda()
    rois = boxes(generator, 64, 2, 16).cuda()
    torch.use_deterministic_algorithms(True)
    try:
        gradients = []
        for _ in range(5):
            own = volume.clone().requires_grad_()
            roi_pool3d(own, rois, 8, 1.0, mode).square().sum().backward()
            gradients.append(own.grad)
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(gradients[0], g) for g in gradients[1:])


@pytest.mark.parametrize('mode', ['max', 'align'])
def test_large_tensors_are_indexed_beyond_31_bits(mode):
    volume = torch.zeros(1, 1100, 128, 128, 128, device='cuda', dtype=torch.bfloat16)
    volume[0, -1, -1, -1, -1] = 3
    rois = torch.tensor([[0.0, 127, 127, 127, 127, 127, 127]], device='cuda')
    out = roi_pool3d(volume, rois, 1, 1.0, mode)
    assert out[0, -1].item() == 3 and out[0, :-1].abs().sum() == 0
