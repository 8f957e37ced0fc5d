"""The model learns from validation from which score each anatomy is there."""

import time
from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from mmengine.dist import all_gather_object, get_dist_info
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from massm.datasets.shape_dataset import ShapeDataset
from massm.datasets.unaugmented import unaugmented
from massm.engine.budgeted_train_loop import BudgetedTrainLoop, set_aside
from massm.engine.distributed import unwrapped
from massm.evaluation.scan_parts import scan_parts
from massm.evaluation.score_threshold import best_thresholds
from massm.models.massm import MASSM
from massm.models.shape_network import DEFAULT_THRESHOLD, ShapeNetwork
from massm.registry import HOOKS
from massm.structures.shape_sample import ShapeSample

# About so many scans tell how long all will take.
TRIED = 4


@HOOKS.register_module()
class ScoreThresholdHook(Hook):
    """Stores :func:`massm.evaluation.score_threshold.best_thresholds` of each validation in the
    model, before the best checkpoint is saved, so that test and inference use it.

    In few cohorts an anatomy is known to be missing; but any scan may end before it. So the
    network is also shown parts of every validation scan.

    Without validation it is shown the training scans after the last epoch. What it was trained on
    it finds by higher scores than what it does not know, so they can lower a threshold, not raise
    it. Where training has a budget, a few of them tell before it begins how long that will take.

    Args:
        heights: of the planes that scans are cut at, shares of their height.
    """

    def __init__(self, heights: Sequence[float] = (0.3, 0.5, 0.7)) -> None:
        self.heights = tuple(heights)
        # Of each anatomy.
        self.present: list[list[float]] = []
        self.absent: list[list[float]] = []

    def before_train(self, runner: Runner) -> None:
        """Keeps the time that looking at the training scans will take."""
        if not isinstance(runner.train_loop, BudgetedTrainLoop) or runner.val_loop is not None:
            return
        model, dataset = unwrapped(runner.model), unaugmented(runner.train_dataloader.dataset)
        if not isinstance(model, MASSM):
            return
        own = _own_share(len(dataset))
        tried = own[:: max(1, len(own) // TRIED)]
        began = time.monotonic()
        self._look_at(model, dataset, tried)
        per_scan = (time.monotonic() - began) / max(1, len(tried))
        set_aside(runner, 'thresholds', per_scan * len(own))

    def before_val_epoch(self, runner: Runner) -> None:
        """Forgets the last validation's scores."""
        self._forget(unwrapped(runner.model))

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict[str, Any],
        outputs: Sequence[ShapeSample],
    ) -> None:
        """Takes the scores of the whole scans, and of their parts."""
        model = unwrapped(runner.model)
        for volume, sample in zip(data_batch['inputs'], outputs, strict=True):
            if 'scores' in sample:
                self._add_whole(sample.scores, sample)
                if isinstance(model, MASSM):
                    self._add_parts(model, volume, sample)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, Any] | None = None) -> None:
        """Chooses, from what all processes saw."""
        present, absent = self._gathered()
        if any(present):
            _store(unwrapped(runner.model), best_thresholds(present, absent))

    def after_train_epoch(self, runner: Runner) -> None:
        """Without validation, after the last epoch and before its checkpoint is written."""
        model = unwrapped(runner.model)
        is_due = runner.val_loop is None and self.is_last_train_epoch(runner)
        if not (is_due and isinstance(model, MASSM)):
            return
        runner.logger.info('ScoreThresholdHook: no validation split, the training scans are seen')
        dataset = unaugmented(runner.train_dataloader.dataset)
        self._look_at(model, dataset, _own_share(len(dataset)))
        present, absent = self._gathered()
        thresholds = [min(DEFAULT_THRESHOLD, best) for best in best_thresholds(present, absent)]
        _store(model, thresholds)
        told = (f'{name} {t:.3f}' for name, t in zip(model.anatomies, thresholds, strict=True))
        runner.logger.info(f'ScoreThresholdHook: found from a score of: {", ".join(told)}')

    def _look_at(self, model: MASSM, dataset: ShapeDataset, which: Sequence[int]) -> None:
        """Takes the scores of these scans, and of their parts, alone."""
        self._forget(model)
        model.eval()
        for i in which:
            item = dataset[i]
            volume, sample = item['inputs'], item['data_samples']
            self._add_whole(_scores(model, volume), sample)
            self._add_parts(model, volume, sample)
        model.train()

    def _forget(self, model: ShapeNetwork) -> None:
        self.present, self.absent = ([[] for _ in model.anatomies] for _ in range(2))

    def _gathered(self) -> list[list[list[float]]]:
        """What was there and what was not, of each anatomy, in all processes."""
        shares = all_gather_object((self.present, self.absent))
        return [
            [list(chain.from_iterable(parts)) for parts in zip(*of_one_kind, strict=True)]
            for of_one_kind in zip(*shares, strict=True)
        ]

    def _add_whole(self, scores: Tensor, sample: ShapeSample) -> None:
        self._add(scores, sample.has_box, sample.counted & ~sample.has_box)

    def _add_parts(self, model: MASSM, volume: Tensor, sample: ShapeSample) -> None:
        for part, whole, gone in scan_parts(volume, sample, self.heights):
            self._add(_scores(model, part), whole, gone)

    def _add(self, scores: Tensor, whole: Tensor, gone: Tensor) -> None:
        for k, score in enumerate(scores.tolist()):
            if whole[k]:
                self.present[k].append(score)
            if gone[k]:
                self.absent[k].append(score)


def _own_share(count: int) -> range:
    """Of ``count`` scans those that this process looks at."""
    rank, world_size = get_dist_info()
    return range(rank, count, world_size)


def _store(model: ShapeNetwork, thresholds: Sequence[float]) -> None:
    model.score_thresholds.copy_(torch.tensor(thresholds))


@torch.no_grad()
def _scores(model: MASSM, volume: Tensor) -> Tensor:
    """``[K]`` of a scan ``[C, X, Y, Z]``."""
    inputs = model.data_preprocessor({'inputs': [volume.contiguous()]})['inputs']
    sizes = torch.tensor([volume.shape[1:]], device=inputs.device)
    return model.scores(inputs, sizes)[0]
