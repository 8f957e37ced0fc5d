"""Truth in place of predictions, less and less often (the paper's schedule)."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from massm.engine.distributed import unwrapped
from massm.registry import HOOKS


def forcing_probability(epoch: int, begin: int, end: int) -> float:
    """1 up to ``begin``, then straight down to 0 at ``end``."""
    return min(1.0, max(0.0, (end - epoch) / max(end - begin, 1)))


@HOOKS.register_module()
class TeacherForcingHook(Hook):
    """Sets ``model.teacher_forcing``, the probability that a sample's heads are fed with the true
    boxes and local particles.

    Args:
        begin: last epoch with probability 1.
        end: first epoch with probability 0.
    """

    priority = 'VERY_HIGH'

    def __init__(self, begin: int = 20, end: int = 70) -> None:
        self.begin, self.end = begin, end

    def before_train_epoch(self, runner: Runner) -> None:
        """Sets this epoch's probability and logs it."""
        model = unwrapped(runner.model)
        model.teacher_forcing = forcing_probability(runner.epoch, self.begin, self.end)
        runner.message_hub.update_scalar('train/teacher_forcing', model.teacher_forcing)
