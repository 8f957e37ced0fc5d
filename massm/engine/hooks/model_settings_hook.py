"""A checkpoint says what its network was built with."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from massm.engine.model_settings import SETTINGS, model_settings
from massm.registry import HOOKS


@HOOKS.register_module()
class ModelSettingsHook(Hook):
    """Stores :func:`massm.engine.model_settings.model_settings` of the config in every checkpoint,
    as data: the config's text, which mmengine stores, is a program."""

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """See the class."""
        checkpoint['meta'][SETTINGS] = model_settings(runner.cfg.model)
