import importlib
import math

import numpy as np
import pytest
import torch

from massm.ops import extension, multi_level_roi_pool3d, roi_pool3d, sample_volume
from massm.ops.roi_pool3d_reference import roi_pool3d_reference


@pytest.fixture(params=['compiled', 'reference'], autouse=True)
def implementation(request, monkeypatch):
    """Every test holds for the compiled op and for the torch reference."""
    if request.param == 'compiled' and not extension.is_compiled('cpu'):
        pytest.skip('the compiled op could not be built here')
    if request.param == 'reference':
        # The package exports the function under the module's name.
        module = importlib.import_module('massm.ops.roi_pool3d')
        monkeypatch.setattr(module, 'is_compiled', lambda device: False)
    return request.param


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


def test_a_box_of_no_sample_is_refused():
    volume = torch.zeros(2, 1, 3, 3, 3)
    for index in (2.0, -1.0):
        with pytest.raises(IndexError, match=f'sample {index:g}'):
            roi_pool3d(volume, torch.tensor([[index, 0, 0, 0, 1, 1, 1]]), 2)


@pytest.mark.parametrize('mode', ['max', 'align'])
@pytest.mark.parametrize('layout', ['contiguous', 'channels_last', 'strided'])
def test_memory_layout_changes_nothing(mode, layout):
    generator = torch.Generator().manual_seed(3)
    # In double precision: the reference adds gradients in whatever order threads come.
    volume = torch.randn(2, 20, 6, 5, 7, generator=generator).double()
    rois = random_rois(generator, 30, 2, 8)
    laid = {
        'contiguous': volume,
        'channels_last': volume.contiguous(memory_format=torch.channels_last_3d),
        'strided': torch.stack([volume, volume], -1)[..., 0],
    }[layout].clone(memory_format=torch.preserve_format)
    results = []
    for source in (volume.clone(), laid):
        source.requires_grad_()
        pooled = roi_pool3d(source, rois, (2, 3, 4), 1.0, mode)
        (pooled * torch.arange(pooled.numel()).view_as(pooled).sin()).sum().backward()
        results.append((pooled.detach(), source.grad))
    assert torch.allclose(results[0][0], results[1][0], atol=1e-6)
    assert torch.allclose(results[0][1], results[1][1], atol=1e-5)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_the_rounded_result(dtype):
    generator = torch.Generator().manual_seed(4)
    volume = torch.randn(1, 17, 6, 5, 7, generator=generator).to(dtype)
    rois = random_rois(generator, 20, 1, 8)
    assert torch.equal(roi_pool3d(volume, rois, 3), roi_pool3d(volume.float(), rois, 3).to(dtype))
    wide = roi_pool3d(volume.double(), rois, 3, 1.0, 'align')
    narrow = roi_pool3d(volume, rois, 3, 1.0, 'align')
    assert narrow.dtype == dtype and torch.allclose(narrow.double(), wide, atol=0.05)


def test_a_feature_that_is_not_a_number_stays_seen():
    volume = torch.zeros(1, 2, 4, 4, 4)
    volume[0, 1, 2, 2, 2] = math.nan
    pooled = roi_pool3d(volume, torch.tensor([[0.0, 0, 0, 0, 3, 3, 3]]), 1)
    assert pooled[0, 0] == 0 and pooled[0, 1].isnan()


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


def test_compiled_and_reference_agree_on_thousands_of_boxes(implementation):
    if implementation == 'reference':
        pytest.skip('compares the two')
    generator = torch.Generator().manual_seed(5)
    for case in range(12):
        shape = torch.randint(1, 12, (3,), generator=generator).tolist()
        channels = int(torch.randint(1, 40, (1,), generator=generator))
        volume = torch.randn(3, channels, *shape, generator=generator).double()
        if case % 2:
            volume = volume.contiguous(memory_format=torch.channels_last_3d)
        size = tuple(torch.randint(1, 6, (3,), generator=generator).tolist())
        rois = random_rois(generator, 300, 3, 20)
        scale = [1.0, 0.5, 0.25][case % 3]
        for mode in ('max', 'align'):
            gradients = []
            for pool in (roi_pool3d, roi_pool3d_reference):
                source = volume.clone().requires_grad_()
                pooled = pool(source, rois, size, scale, mode)
                (pooled * torch.linspace(-1, 1, pooled.numel()).view_as(pooled)).sum().backward()
                gradients.append((pooled.detach(), source.grad))
            exact = torch.equal if mode == 'max' else lambda a, b: torch.allclose(a, b, atol=1e-5)
            assert exact(gradients[0][0], gradients[1][0]), (case, mode)
            assert torch.allclose(gradients[0][1], gradients[1][1], atol=2e-4), (case, mode)


@pytest.fixture
def levels():
    generator = torch.Generator().manual_seed(6)
    maps = [torch.randn(2, 3, 16 // s, 8 // s, 12 // s, generator=generator) for s in (1, 2, 4)]
    return maps, random_rois(generator, 9, 2, 14)


@pytest.mark.parametrize('mode', ['max', 'align'])
def test_the_operator_keeps_torchs_rules(implementation, levels, mode):
    if implementation == 'reference':
        pytest.skip('there is no operator')
    maps, rois = levels
    op = getattr(torch.ops.massm, f'roi_pool3d_{mode}').default
    arguments = (
        [m.requires_grad_() for m in maps],
        rois,
        [4] * 3 + [2] * 3 + [1] * 3,
        [1, 0.5, 0.25],
    )
    torch.library.opcheck(op, arguments)


@pytest.mark.parametrize('mode', ['max', 'align'])
def test_it_compiles_into_one_graph(implementation, levels, mode):
    if implementation == 'reference':
        pytest.skip('there is no operator')
    maps, rois = levels

    def pooled(*features):
        return (
            multi_level_roi_pool3d(list(features), rois, [4, 2, 1], [1, 2, 4], mode).square().sum()
        )

    compiled = torch.compile(pooled, fullgraph=True, backend='aot_eager')
    eager_maps = [m.clone().requires_grad_() for m in maps]
    compiled_maps = [m.clone().requires_grad_() for m in maps]
    expected, found = pooled(*eager_maps), compiled(*compiled_maps)
    assert torch.allclose(expected, found)
    expected.backward()
    found.backward()
    for a, b in zip(eager_maps, compiled_maps, strict=True):
        assert torch.allclose(a.grad, b.grad, atol=1e-5)


def test_levels_together_are_levels_alone(levels):
    maps, rois = levels
    for mode in ('max', 'align'):
        joined = multi_level_roi_pool3d(maps, rois, [4, 2, 1], [1, 2, 4], mode)
        alone = [
            roi_pool3d(m, rois, n, 1 / s, mode).flatten(1)
            for m, n, s in zip(maps, (4, 2, 1), (1, 2, 4), strict=True)
        ]
        assert torch.equal(joined, torch.cat(alone, 1))
    with pytest.raises(ValueError, match='one of each a level'):
        multi_level_roi_pool3d(maps, rois, [4, 2], [1, 2, 4])
