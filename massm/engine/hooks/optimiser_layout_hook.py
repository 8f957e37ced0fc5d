"""A resumed optimiser in the memory layout of what it trains."""

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from massm.registry import HOOKS


@HOOKS.register_module()
class OptimiserLayoutHook(Hook):
    """Moments that a checkpoint brought are laid out as the parameters were when it was written,
    channels last or not. Fused optimisers walk both in the order of memory: on a GPU they refuse
    other layouts, on a CPU they would take one weight's moments for another's."""

    def before_train(self, runner: Runner) -> None:
        """See the class."""
        for parameter, state in runner.optim_wrapper.optimizer.state.items():
            for name, moment in state.items():
                alike = isinstance(moment, Tensor) and moment.shape == parameter.shape
                if alike and moment.stride() != parameter.stride():
                    state[name] = torch.empty_like(parameter).copy_(moment)
