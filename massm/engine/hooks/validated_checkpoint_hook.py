"""An epoch's checkpoint holds what its validation told the model."""

from pathlib import Path
from typing import Any

from mmengine.dist import master_only
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner

from massm.engine.budgeted_train_loop import BudgetedTrainLoop
from massm.io.atomic import replacing
from massm.registry import HOOKS

# Not beginning with 'val', or mmengine would log it among validation's measures.
VALIDATED = 'last_validated_epoch'


@HOOKS.register_module()
class ValidatedCheckpointHook(Hook):
    """mmengine writes an epoch's checkpoint before its validation, with the score threshold and the
    calibration of an earlier one. So it is written once more after it, and says that it was
    validated. Where training goes on from a last checkpoint that does not, since its validation was
    interrupted, that is made up for.
    """

    # After mmengine's own, which keeps the best.
    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
        """Validates what was trained to the end and not validated."""
        loop = runner.train_loop
        is_over = loop.epoch > 0 and loop.epoch >= loop.max_epochs
        if runner.val_loop is None or not is_over or loop.epoch < loop.val_begin:
            return
        if runner.message_hub.get_info(VALIDATED) != loop.epoch:
            runner.logger.info('ValidatedCheckpointHook: the last epoch was not validated')
            runner.val_loop.run()
            if isinstance(loop, BudgetedTrainLoop):
                loop.begin_to_count()

    def after_val_epoch(self, runner: Runner, metrics: dict[str, Any] | None = None) -> None:
        """Writes the checkpoint again."""
        runner.message_hub.update_info(VALIDATED, runner.epoch)
        for hook in runner.hooks:
            if isinstance(hook, CheckpointHook) and hook.by_epoch:
                _write_again(runner, hook)


@master_only
def _write_again(runner: Runner, hook: CheckpointHook) -> None:
    """The epoch's checkpoint, where ``hook`` wrote one."""
    path = Path(hook.out_dir) / hook.filename_tmpl.format(runner.epoch)
    last = runner.message_hub.get_info('last_ckpt') or ''
    if Path(last).name != path.name or not path.is_file():
        return
    with replacing(path) as temporary:
        runner.save_checkpoint(
            str(temporary.parent),
            temporary.name,
            save_optimizer=hook.save_optimizer,
            save_param_scheduler=hook.save_param_scheduler,
            meta={'epoch': runner.epoch, 'iter': runner.iter},
            **hook.args,
        )
