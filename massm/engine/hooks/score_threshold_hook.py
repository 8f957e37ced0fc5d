"""The model learns from validation from which score an anatomy is there."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from massm.engine.distributed import unwrapped
from massm.registry import HOOKS


@HOOKS.register_module()
class ScoreThresholdHook(Hook):
    """Stores :func:`massm.evaluation.score_threshold.best_threshold` of each validation in the
    model, before the best checkpoint is saved, so that test and inference use it."""

    def after_val_epoch(self, runner: Runner, metrics: dict[str, Any] | None = None) -> None:
        """Takes the threshold that ``DetectionMetric`` found."""
        found = (metrics or {}).get('best_threshold')
        if found is not None:
            unwrapped(runner.model).score_threshold.fill_(found)
