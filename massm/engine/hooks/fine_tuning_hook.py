"""Starting from a checkpoint that was trained on other subjects."""

from pathlib import Path

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from massm.engine.distributed import unwrapped
from massm.registry import HOOKS


@HOOKS.register_module()
class FineTuningHook(Hook):
    """Keeps the dataset's own templates and shape models, and what the config makes of them, where
    weights are loaded to start from (``load_from`` without ``--resume``): a checkpoint brings those
    it was trained on, too. Linear filters are fitted anew as well, and the shape autoencoder where
    the shape models differ.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self.shape_model: str | None = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Remembers which correspondences the checkpoint was trained on."""
        self.shape_model = checkpoint['meta']['dataset_meta']['shape_model']

    def before_train(self, runner: Runner) -> None:
        """Puts the dataset's templates back."""
        if self.shape_model is None:
            return
        model = unwrapped(runner.model)
        model.read_templates(Path(model.template_root))
        if self.shape_model == runner.train_dataloader.dataset.metainfo['shape_model']:
            return
        for name, flag in model.named_buffers():
            if name.endswith('shape_vae.is_trained'):
                flag.copy_(torch.tensor(False))
        runner.logger.info("FineTuningHook: the dataset's templates, not the checkpoint's")
