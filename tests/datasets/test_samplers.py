"""Order of samples: complete, reproducible, and alike in size where batches are made."""

import numpy as np
import pytest

from massm.datasets.samplers import SeededSampler


class Volumes:
    """Sizes as scans have them: of chests and of whole bodies, at 3 mm."""

    def __init__(self, count: int) -> None:
        rng = np.random.default_rng(0)
        width = np.exp(rng.normal(np.log(110), 0.2, count))
        depth = width * rng.uniform(0.75, 1, count)
        height = np.exp(rng.normal(np.log(110), 0.45, count))
        self._sizes = np.stack([width, depth, height], 1).clip(32, 260).astype(int)

    def __len__(self) -> int:
        return len(self._sizes)

    def sizes(self) -> np.ndarray:
        return self._sizes


def padding(sampler: SeededSampler, sizes: np.ndarray, batch: int = 2) -> float:
    """Share of the padded batches' voxels that are no volume's."""
    order = [int(i) for i in sampler]
    batches = [sizes[order[i : i + batch]] for i in range(0, len(order), batch)]
    padded = sum(len(b) * (-(-b.max(0) // 4) * 4).prod() for b in batches)
    return 1 - sizes.prod(1).sum() / padded


def test_batches_of_like_volumes_are_padded_by_less_than_15_percent():
    volumes = Volumes(1000)
    assert padding(SeededSampler(volumes, pool=256), volumes.sizes()) < 0.15
    assert padding(SeededSampler(volumes), volumes.sizes()) > 0.3


@pytest.mark.parametrize('count', [1, 2, 3, 17, 100])
def test_grouping_loses_no_sample_and_mixes_anew_every_epoch(count):
    sampler = SeededSampler(Volumes(count), pool=256)
    first = [int(i) for i in sampler]
    assert sorted(first) == list(range(count))
    assert [int(i) for i in sampler] == first
    sampler.set_epoch(1)
    assert count < 17 or [int(i) for i in sampler] != first


def test_volumes_of_one_size_keep_the_shuffled_order():
    volumes = Volumes(40)
    volumes._sizes[:] = 64
    assert list(SeededSampler(volumes, pool=256)) == list(SeededSampler(volumes))
