"""Training a model from a config."""

from pathlib import Path

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.runner import Runner

from massm.apis.checkpoints import check_fits, check_shared, check_weights, latest_checkpoint
from massm.cohort.correspondences import check_built
from massm.cohort.manifest import load_manifest
from massm.datasets.check import check_selection, check_subjects
from massm.engine.checkpoint import register_safe_loader
from massm.engine.distributed import prepare_processes, unwrapped
from massm.engine.hooks import (
    FineTuningHook,
    ModelSettingsHook,
    OptimiserLayoutHook,
    ValidatedCheckpointHook,
)
from massm.errors import ConfigError
from massm.io.writable import make_writable


def train(
    config: Config,
    work_dir: str | None = None,
    resume: bool | str = False,
    amp: bool = False,
    launcher: str = 'none',
    trust_checkpoint: bool = False,
    channels_last: bool = False,
    compiled: bool = False,
) -> Runner:
    """Trains and returns the finished runner.

    Args:
        config: resolved (:func:`massm.apis.config.load_config`).
        work_dir: where logs and checkpoints go; the config's, or ``work_dirs/NAME``.
        resume: go on from the latest checkpoint of the work dir, or from the one named. Where the
            work dir has none, training begins, from the config's ``load_from`` if it names one.
        amp: bfloat16 autocast, on a GPU.
        launcher: ``none``, ``pytorch`` (torchrun), ``slurm`` or ``mpi``.
        trust_checkpoint: see :func:`massm.engine.checkpoint.load_checkpoint`.
        channels_last, compiled: see :meth:`massm.models.massm.MASSM.optimise`.

    Raises:
        ConfigError: the work dir cannot be written, or there is no GPU for ``amp``.
        CheckpointError: the checkpoint to go on from was trained on something else.
        DatasetError: a subject cannot be used; all of them are named before the first step.
    """
    register_safe_loader(trust_checkpoint)
    config.launcher = launcher
    prepare_processes(config, launcher)
    config.work_dir = resolve_work_dir(config, work_dir)
    make_writable(Path(config.work_dir))
    _check_amp(amp)
    begun = _go_on_from(config, resume, trust_checkpoint)
    if amp:
        config.optim_wrapper.update(type='AmpOptimWrapper', dtype='bfloat16')
    check_built(Path(config.data_root), config.anatomies)
    runner = Runner.from_cfg(config)
    if config.resume:
        check_weights(unwrapped(runner.model), begun, config.load_from)
    for hook in (ModelSettingsHook(), OptimiserLayoutHook(), ValidatedCheckpointHook()):
        runner.register_hook(hook)
    if not config.resume:
        runner.register_hook(FineTuningHook())
    loops = [runner.train_loop, runner.val_loop]
    if runner.val_loop is not None:
        check_selection(runner.val_loop.dataloader.dataset, _selected_by(config))
    elif unused := load_manifest(Path(config.data_root)).of_split('val'):
        runner.logger.warning(
            f'the config has no validation: {len(unused)} subjects of the val split are not used, '
            'the last checkpoint is kept, and how sure a surface is will not be calibrated'
        )
    check_subjects(loop.dataloader.dataset for loop in loops if loop is not None)
    unwrapped(runner.model).optimise(channels_last, compiled)
    runner.train()
    return runner


def _selected_by(config: Config) -> list[str]:
    """The measures by which the best checkpoint is chosen."""
    chosen = (config.default_hooks.get('checkpoint') or {}).get('save_best') or []
    return [chosen] if isinstance(chosen, str) else list(chosen)


def _check_amp(amp: bool) -> None:
    """mmengine's wrapper knows no autocast on a CPU."""
    if amp and get_device() in ('cpu', 'mps'):
        raise ConfigError(
            '--amp is for a GPU, and torch sees none here (massm doctor says more); leave it out'
        )


def _go_on_from(config: Config, resume: bool | str, trust_checkpoint: bool) -> dict:
    """Tells ``config`` which weights training begins with, if any, and whether it goes on with
    them; checks them.

    Returns:
        The checkpoint; empty where there is none.
    """
    resume = resume or bool(config.get('resume'))
    earlier = latest_checkpoint(Path(config.work_dir)) if resume is True else resume
    config.resume = bool(earlier)
    if earlier:
        config.load_from = str(earlier)
        return check_fits(config, config.load_from, trust_checkpoint)
    if config.get('load_from'):
        return check_shared(config, config.load_from, trust_checkpoint)
    return {}


def resolve_work_dir(config: Config, work_dir: str | None) -> str:
    """The work dir: as asked for, as the config says, or named after the config."""
    name = Path(config.filename or 'config').stem
    return work_dir or config.get('work_dir') or str(Path('work_dirs') / name)
