"""Keeps what the network predicted in a test, for files and figures."""

from collections.abc import Sequence
from typing import Any

from mmengine.dist import collect_results
from mmengine.hooks import Hook
from mmengine.runner import Runner

from massm.evaluation.case_prediction import CasePrediction, case_prediction
from massm.registry import HOOKS
from massm.structures.shape_sample import ShapeSample


@HOOKS.register_module()
class PredictionHook(Hook):
    """After a test, ``predictions`` holds a :class:`CasePrediction` per subject, of all processes,
    in the dataset's order; on other processes than the first it is empty."""

    def __init__(self) -> None:
        self.predictions: list[CasePrediction] = []

    def before_test_epoch(self, runner: Runner) -> None:
        """Forgets an earlier test."""
        self.predictions = []

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Sequence[ShapeSample] | None = None,
    ) -> None:
        """Keeps a batch."""
        self.predictions += [case_prediction(sample) for sample in outputs or ()]

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Gathers the processes' predictions on the first."""
        size = len(runner.test_dataloader.dataset)
        self.predictions = collect_results(self.predictions, size, 'cpu') or []
