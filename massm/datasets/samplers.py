"""A sampler whose samples know their epoch, so that all randomness is reproducible."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from mmengine.dist import get_dist_info
from torch.utils.data import Sampler

from massm.registry import DATA_SAMPLERS


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
    """

    def __init__(
        self, dataset: Any, shuffle: bool = True, seed: int = 0, round_up: bool = True
    ) -> None:
        self.rank, self.world_size = get_dist_info()
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
        order = (order * math.ceil(self.total / max(self.length, 1)))[: self.total]
        for index in order[self.rank :: self.world_size]:
            yield SampleIndex.of(index, self.epoch)

    def __len__(self) -> int:
        return self.num_samples
