"""Pretrains the shape autoencoder before training starts."""

import torch
from mmengine.dist import broadcast
from mmengine.hooks import Hook
from mmengine.runner import Runner

from massm.engine.distributed import unwrapped
from massm.engine.shape_vae_training import pretrain_shape_vae
from massm.models.world_heads.cvae_world_head import CVAEWorldHead
from massm.registry import HOOKS


@HOOKS.register_module()
class CVAEPretrainHook(Hook):
    """Trains the world head's :class:`ShapeCVAE` on the training split's world particles, unless
    a loaded checkpoint brought a trained one; then it is frozen. Does nothing for world heads
    without an autoencoder, so that heads can be swapped in the config alone.

    Args:
        steps, batch_size, lr: of Adam with a one-cycle learning rate.
        seed: of batches and noise.
    """

    priority = 'HIGH'

    def __init__(
        self, steps: int = 2000, batch_size: int = 64, lr: float = 1e-3, seed: int = 0
    ) -> None:
        self.steps, self.batch_size, self.lr, self.seed = steps, batch_size, lr, seed

    def before_train(self, runner: Runner) -> None:
        """Pretrains on every process alike and takes the first one's result."""
        model = unwrapped(runner.model)
        head = model.world_head
        if not isinstance(head, CVAEWorldHead) or bool(head.shape_vae.is_trained):
            return
        world, exists = runner.train_dataloader.dataset.world_particles()
        runner.logger.info(
            f'CVAEPretrainHook: {self.steps} steps on {int(exists.sum())} training shapes'
        )
        history = pretrain_shape_vae(
            head,
            torch.as_tensor(world),
            torch.as_tensor(exists),
            model.templates.world_mm,
            self.steps,
            self.batch_size,
            self.lr,
            self.seed,
        )
        for tensor in head.shape_vae.state_dict().values():
            broadcast(tensor, src=0)
        runner.logger.info(
            f'CVAEPretrainHook: loss {history[0]:.5f} -> {history[-1]:.5f} (squared error in '
            'units of the template size)'
        )
