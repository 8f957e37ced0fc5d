"""A sampler whose samples know their epoch, so that all randomness is reproducible."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_dist_info
from torch.utils.data import Sampler

from massm.registry import DATA_SAMPLERS

# A pool that is more of the cohort would choose the partners of a batch more by size than by
# chance, and always the same ones.
LARGEST_SHARE, MIN_POOL = 4, 8


class SampleIndex(int):
    """A dataset index with the epoch it is drawn in."""

    epoch: int = 0

    @classmethod
    def of(cls, index: int, epoch: int) -> 'SampleIndex':
        """``index`` in ``epoch``."""
        sample = cls(index)
        sample.epoch = epoch
        return sample


@DATA_SAMPLERS.register_module()
class SeededSampler(Sampler):
    """Shuffles by seed and epoch alone; ranks take turns.

    Order and augmentation are functions of (seed, epoch, index), so a resumed run and a run on
    more processes see what an uninterrupted single process sees. What a network makes of it is the
    same only where volumes are of one size: group normalisation sees what a batch is padded with.

    Args:
        dataset: has a length.
        shuffle: else the dataset's order.
        seed: of the order.
        round_up: repeat samples so that every rank has as many; off for evaluation.
        pool: up to so many neighbours in the shuffled order are rearranged until volumes of like
            size follow each other, so that a batch is hardly padded and ranks work equally long;
            ``dataset.sizes()`` says how large they are. A quarter of the dataset at most, rounded
            to a power of two; where that leaves less than 8, the order stays as shuffled.
    """

    def __init__(
        self,
        dataset: Any,
        shuffle: bool = True,
        seed: int = 0,
        round_up: bool = True,
        pool: int = 1,
    ) -> None:
        self.rank, self.world_size = get_dist_info()
        self.pool = _pool_size(pool, len(dataset)) if shuffle else 1
        self.sizes = dataset.sizes() if self.pool > 1 else None
        self.length, self.shuffle, self.seed = len(dataset), shuffle, seed
        self.epoch = 0
        if round_up:
            self.num_samples = math.ceil(self.length / self.world_size)
        else:
            self.num_samples = math.ceil((self.length - self.rank) / self.world_size)
        self.total = self.num_samples * self.world_size if round_up else self.length

    def set_epoch(self, epoch: int) -> None:
        """Called by mmengine's ``DistSamplerSeedHook`` before each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[SampleIndex]:
        order = list(range(self.length))
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed + self.epoch)
            order = torch.randperm(self.length, generator=generator).tolist()
        if self.sizes is not None:
            pools = [order[i : i + self.pool] for i in range(0, self.length, self.pool)]
            order = [n for pool in pools for n in alike_in_turn(pool, self.sizes, generator)]
        order = (order * math.ceil(self.total / max(self.length, 1)))[: self.total]
        for index in order[self.rank :: self.world_size]:
            yield SampleIndex.of(index, self.epoch)

    def __len__(self) -> int:
        return self.num_samples


def _pool_size(wanted: int, length: int) -> int:
    """See :class:`SeededSampler`; 1 where nothing is to be rearranged."""
    most = min(wanted, length // LARGEST_SHARE)
    return 1 if most < MIN_POOL else 2 ** round(math.log2(most))


def alike_in_turn(
    indices: Sequence[int], sizes: np.ndarray, generator: torch.Generator
) -> list[int]:
    """Rearranges ``indices`` so that neighbours have like sizes along every axis: halves of halves,
    each time along the axis whose sizes differ most. Which of two halves comes first is drawn, so
    that an epoch does not go from small to large.

    Args:
        sizes: ``[N, 3]`` voxels, of every volume that an index may name.
    """
    if len(indices) < 2:
        return list(indices)
    logs = np.log(sizes[list(indices)])
    along = logs[:, np.ptp(logs, axis=0).argmax()]
    order = [indices[i] for i in np.argsort(along, kind='stable')]
    half = 2 ** math.ceil(math.log2(len(order)) - 1)
    first, second = (alike_in_turn(part, sizes, generator) for part in (order[:half], order[half:]))
    # A smaller half stays last: before the other it would shift where that one's batches begin.
    swapped = len(second) == half and torch.rand(1, generator=generator) < 0.5
    return second + first if swapped else first + second
