"""Order of samples: complete, reproducible, and alike in size where batches are made."""

import math

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


def epochs(count: int, number: int = 40) -> list[list[int]]:
    sampler = SeededSampler(Volumes(count), pool=256)
    orders = []
    for epoch in range(number):
        sampler.set_epoch(epoch)
        orders.append([int(i) for i in sampler])
        assert [int(i) for i in sampler] == orders[-1]
    return orders


@pytest.mark.parametrize('count', [1, 2, 3, 7, 16, 17, 40, 100, 300])
def test_every_epoch_shows_every_sample_once_in_an_order_of_its_own(count):
    orders = epochs(count)
    assert all(sorted(order) == list(range(count)) for order in orders)
    possible = min(len(orders), math.factorial(min(count, 10)))
    assert len(set(map(tuple, orders))) > 0.6 * possible


@pytest.mark.parametrize('count', [6, 16, 17, 40, 64, 300])
def test_partners_in_a_batch_and_a_samples_place_change_from_epoch_to_epoch(count):
    """At any size of the cohort, of the smallest volume as of the largest."""
    orders = epochs(count)
    volumes = Volumes(count).sizes().prod(1)
    for sample in (int(volumes.argmin()), int(volumes.argmax())):
        places = [order.index(sample) for order in orders]
        partners = [
            order[place ^ 1]
            for order, place in zip(orders, places, strict=True)
            if place ^ 1 < count
        ]
        assert len(set(places)) >= min(count, 20) / 2
        assert len(set(partners)) >= min(count - 1, 8)
        # As often in the first half of an epoch as in the second: not from small to large.
        assert 0.2 < np.mean(np.array(places) < count / 2) < 0.8
