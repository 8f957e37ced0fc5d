import math

import numpy as np
import pytest
import torch

from massm.ops import multi_level_roi_pool3d, roi_pool3d, sample_volume


def naive_max_pool(volume, roi, size, scale):
    """The definition, as a triple loop over bins."""
    batch, low, high = int(roi[0]), roi[1:4] * scale, roi[4:7] * scale
    pooled = torch.empty(volume.shape[1], size, size, size, dtype=volume.dtype)
    cells = []
    for axis in range(3):
        last = volume.shape[2 + axis] - 1
        first = min(max(round(low[axis].item()), 0), last)
        end = max(min(max(round(high[axis].item()), 0), last), first)
        extent = end - first + 1
        cells.append(
            [
                (first + b * extent // size, first + math.ceil((b + 1) * extent / size))
                for b in range(size)
            ]
        )
    for i, (x0, x1) in enumerate(cells[0]):
        for j, (y0, y1) in enumerate(cells[1]):
            for k, (z0, z1) in enumerate(cells[2]):
                block = volume[batch, :, x0:x1, y0:y1, z0:z1]
                pooled[:, i, j, k] = block.amax((1, 2, 3))
    return pooled


def random_rois(generator, count, batch, extent):
    low = torch.rand(count, 3, generator=generator) * extent * 1.2 - 0.2 * extent
    high = low + torch.rand(count, 3, generator=generator) * extent
    index = torch.randint(batch, (count, 1), generator=generator)
    return torch.cat([index.float(), low, high], 1)


@pytest.mark.parametrize('size', [1, 2, 4, 8])
@pytest.mark.parametrize('scale', [1.0, 0.25])
def test_max_agrees_with_the_naive_loop(size, scale):
    generator = torch.Generator().manual_seed(size)
    volume = torch.randn(2, 3, 7, 5, 9, generator=generator)
    rois = random_rois(generator, 40, 2, 9 / scale)
    expected = torch.stack([naive_max_pool(volume, roi, size, scale) for roi in rois])
    assert torch.equal(roi_pool3d(volume, rois, size, scale, 'max'), expected)


def test_align_agrees_with_grid_sample():
    generator = torch.Generator().manual_seed(0)
    volume = torch.randn(2, 3, 7, 5, 9, generator=generator)
    rois = random_rois(generator, 20, 2, 9)
    pooled = roi_pool3d(volume, rois, (2, 3, 4), 1.0, 'align')
    for roi, values in zip(rois, pooled, strict=True):
        axes = [
            roi[1 + a] + (roi[4 + a] - roi[1 + a]) * (torch.arange(n) + 0.5) / n
            for a, n in enumerate((2, 3, 4))
        ]
        points = torch.stack(torch.meshgrid(*axes, indexing='ij'), -1)[None]
        expected = sample_volume(volume[int(roi[0])][None], points)[0]
        assert torch.allclose(values, expected, atol=1e-5)


@pytest.mark.parametrize('mode', ['max', 'align'])
def test_gradient(mode):
    volume = torch.randn(2, 2, 4, 5, 3, dtype=torch.float64, requires_grad=True)
    rois = torch.tensor([[0.0, 0.3, 0.2, 0.1, 3.2, 4.1, 2.2], [1, 1, 1, 0, 2, 3, 2]]).double()
    assert torch.autograd.gradcheck(lambda v: roi_pool3d(v, rois, 2, 1.0, mode), (volume,))


@pytest.mark.parametrize('mode', ['max', 'align'])
def test_odd_boxes_are_defined(mode):
    volume = torch.arange(64.0).view(1, 1, 4, 4, 4)
    nan = float('nan')
    rois = torch.tensor(
        [
            [0, -9, -9, -9, -5, -5, -5],
            [0, 9, 9, 9, 8, 8, 8],
            [0, 1, 1, 1, 1, 1, 1],
            [0, nan, 0, 0, 1, 1, 1],
        ]
    )
    pooled = roi_pool3d(volume, rois, 2, 1.0, mode).flatten(1)
    assert (pooled[0] == 0).all() and (pooled[1] == 63).all()
    assert (pooled[2] == 21).all() and (pooled[3] == 0).all()
    assert roi_pool3d(volume, rois[:0], 2, 1.0, mode).shape == (0, 1, 2, 2, 2)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r'\[K, 7\]'):
        roi_pool3d(torch.zeros(1, 1, 2, 2, 2), torch.zeros(1, 6), 2)
    with pytest.raises(ValueError, match='mode'):
        roi_pool3d(torch.zeros(1, 1, 2, 2, 2), torch.zeros(1, 7), 2, 1.0, 'mean')


def test_levels_are_joined_in_order():
    levels = [torch.full((1, 2, 8 // s, 8 // s, 8 // s), float(s)) for s in (1, 2)]
    joined = multi_level_roi_pool3d(levels, torch.tensor([[0.0, 1, 1, 1, 6, 6, 6]]), [2, 1], [1, 2])
    assert joined.shape == (1, 18)
    assert np.array_equal(joined[0].numpy(), [1.0] * 16 + [2.0] * 2)
