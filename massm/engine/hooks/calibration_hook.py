"""The model learns from validation how sure it may be."""

import math
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from massm.engine.distributed import unwrapped
from massm.registry import HOOKS


@HOOKS.register_module()
class CalibrationHook(Hook):
    """Stores what ``UncertaintyMetric`` found in each validation in the model, before the best
    checkpoint is saved: one factor on the standard deviations per anatomy, and which mean is still
    usual."""

    def after_val_epoch(self, runner: Runner, metrics: dict[str, Any] | None = None) -> None:
        """See the class."""
        model = unwrapped(runner.model)
        calibrate = getattr(model.local_head, 'calibrate', None)
        if calibrate is None:
            return
        for k, name in enumerate(model.anatomies):
            factor = (metrics or {}).get(f'deviation_factor/{name}')
            if factor is not None and math.isfinite(factor) and factor > 0:
                calibrate(k, factor, metrics[f'usual_uncertainty/{name}'])
