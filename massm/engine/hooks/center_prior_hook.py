"""Gives the detector the places of the training cohort's anatomies before training starts."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from massm.engine.distributed import unwrapped
from massm.registry import HOOKS


@HOOKS.register_module()
class CenterPriorHook(Hook):
    """Hands the training split's centres to a detector that reads them
    (:class:`SoftCenterHead`); does nothing for others, so that heads can be swapped in the config
    alone. Every process reads the same."""

    priority = 'HIGH'

    def before_train(self, runner: Runner) -> None:
        """See the class."""
        head = unwrapped(runner.model).dense_head
        if hasattr(head, 'read_centers'):
            head.read_centers(runner.train_dataloader.dataset.centers())
