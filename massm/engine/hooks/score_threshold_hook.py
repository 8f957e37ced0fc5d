"""The model learns from validation from which score an anatomy is there."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from massm.engine.distributed import unwrapped
from massm.evaluation.scan_parts import scan_parts
from massm.evaluation.score_threshold import best_threshold
from massm.models.massm import MASSM
from massm.registry import HOOKS
from massm.structures.shape_sample import ShapeSample


@HOOKS.register_module()
class ScoreThresholdHook(Hook):
    """Stores :func:`massm.evaluation.score_threshold.best_threshold` of each validation in the
    model, before the best checkpoint is saved, so that test and inference use it.

    In few cohorts an anatomy is known to be missing; but any scan may end before it. So the
    network is also shown parts of every validation scan.

    Args:
        heights: of the planes that scans are cut at, shares of their height.
    """

    def __init__(self, heights: Sequence[float] = (0.3, 0.5, 0.7)) -> None:
        self.heights = tuple(heights)
        self.present: list[float] = []
        self.absent: list[float] = []

    def before_val_epoch(self, runner: Runner) -> None:
        """Forgets the last validation's scores."""
        self.present, self.absent = [], []

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
            if 'scores' not in sample:
                continue
            never = sample.counted & ~sample.has_box
            self._add(sample.scores, sample.has_box, never)
            if isinstance(model, MASSM):
                for part, whole, gone in scan_parts(volume, sample, self.heights):
                    self._add(_scores(model, part), whole, gone)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, Any] | None = None) -> None:
        """Chooses, from what all processes saw."""
        shares = all_gather_object((self.present, self.absent))
        present, absent = ([score for share in shares for score in share[i]] for i in (0, 1))
        if present:
            unwrapped(runner.model).score_threshold.fill_(best_threshold(present, absent))

    def _add(self, scores: Tensor, whole: Tensor, gone: Tensor) -> None:
        self.present += scores[whole].tolist()
        self.absent += scores[gone].tolist()


@torch.no_grad()
def _scores(model: MASSM, volume: Tensor) -> Tensor:
    """``[K]`` of a scan ``[C, X, Y, Z]``."""
    inputs = model.data_preprocessor({'inputs': [volume.contiguous()]})['inputs']
    sizes = torch.tensor([volume.shape[1:]], device=inputs.device)
    return model.scores(inputs, sizes)[0]
