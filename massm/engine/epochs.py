"""What a schedule in epochs and the length of a training make of each other."""

from mmengine.runner import Runner


def warn_if_never(runner: Runner, what: str, begin: int) -> None:
    """Warns where ``what`` begins in epoch ``begin`` (from 0) and training has ended by then, as it
    does if ``train_cfg.max_epochs`` alone was lowered."""
    if begin >= runner.max_epochs:
        runner.logger.warning(
            f'{what} begins after {begin} epochs and the training ends after {runner.max_epochs}: '
            'it never comes; change the hook with train_cfg.max_epochs',
        )
