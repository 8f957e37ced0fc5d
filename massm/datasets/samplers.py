"""A sampler whose samples know their epoch, so that all randomness is reproducible."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_dist_info
from torch.utils.data import Sampler

from massm.registry import DATA_SAMPLERS

# Fewer would choose the partners of a batch more by size than by chance.
MIN_POOL = 16


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
    more processes see what an uninterrupted single process sees.

    Args:
        dataset: has a length.
        shuffle: else the dataset's order.
        seed: of the order.
        round_up: repeat samples so that every rank has as many; off for evaluation.
        pool: up to so many neighbours in the shuffled order (a quarter of the dataset at most, but
            16) are rearranged until volumes of like size follow each other, so that a batch is
            hardly padded and ranks work equally long; ``dataset.sizes()`` says how large they are.
            1 leaves the order alone.
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
        self.pool = min(pool, max(MIN_POOL, len(dataset) // 4))
        self.sizes = dataset.sizes() if pool > 1 else None
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
            order = [index for pool in pools for index in alike_in_turn(pool, self.sizes)]
        order = (order * math.ceil(self.total / max(self.length, 1)))[: self.total]
        for index in order[self.rank :: self.world_size]:
            yield SampleIndex.of(index, self.epoch)

    def __len__(self) -> int:
        return self.num_samples


def alike_in_turn(indices: Sequence[int], sizes: np.ndarray) -> list[int]:
    """Rearranges ``indices`` so that neighbours have like sizes along every axis: halves of halves,
    each time along the axis whose sizes differ most. Equal volumes keep their order.

    Args:
        sizes: ``[N, 3]`` voxels, of every volume that an index may name.
    """
    if len(indices) <= 2:
        return list(indices)
    logs = np.log(sizes[list(indices)])
    along = logs[:, np.ptp(logs, axis=0).argmax()]
    order = [indices[i] for i in np.argsort(along, kind='stable')]
    half = 2 ** math.ceil(math.log2(len(order)) - 1)
    return alike_in_turn(order[:half], sizes) + alike_in_turn(order[half:], sizes)
