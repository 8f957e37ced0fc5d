"""World particles through a pretrained shape decoder (the paper's first version)."""

import torch
from mmengine.model import BaseModule
from torch import Tensor

from massm.models.shape_vae.cvae import mlp
from massm.registry import MODELS


@MODELS.register_module()
class CVAEWorldHead(BaseModule):
    """MLP(local, template) to a code; the frozen decoder of a :class:`ShapeCVAE` to particles.

    Args:
        num_particles: M.
        num_anatomies: K.
        hidden_channels: of the MLP.
        shape_vae: config of the autoencoder.
        loss: loss config; error in voxels.
    """

    def __init__(
        self,
        num_particles: int,
        num_anatomies: int,
        hidden_channels: tuple[int, ...] = (512, 256),
        shape_vae: dict | None = None,
        loss: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        config = {'type': 'massm.ShapeCVAE', **(shape_vae or {})}
        self.shape_vae = MODELS.build(
            {**config, 'num_particles': num_particles, 'num_anatomies': num_anatomies}
        )
        self.mlp = mlp(
            [6 * num_particles + num_anatomies, *hidden_channels, self.shape_vae.latent_channels]
        )
        self.num_anatomies = num_anatomies
        self.loss_world = MODELS.build(loss or {'type': 'massm.FocalRegressionLoss'})
        self.freeze()

    def freeze(self) -> None:
        """The autoencoder learns only in its own pretraining."""
        self.shape_vae.requires_grad_(False)

    def forward(self, local_mm: Tensor, template_world: Tensor) -> Tensor:
        """World particles in mm.

        Args:
            local_mm: ``[B, K, M, 3]``, the volume's axes, any origin.
            template_world: ``[K, M, 3]``.

        Returns:
            ``[B, K, M, 3]``.
        """
        size = template_size(template_world)
        centred = local_mm - local_mm.mean(-2, keepdim=True)
        template = (template_world / size).expand_as(centred)
        bent = centred / size - template
        one_hot = torch.eye(self.num_anatomies, device=local_mm.device).expand(
            len(local_mm), -1, -1
        )
        code = self.mlp(torch.cat([bent.flatten(2), template.flatten(2), one_hot], -1))
        deviation = self.shape_vae.decode(code, one_hot).unflatten(-1, (-1, 3))
        return (template + deviation) * size

    def loss(self, world_vox: Tensor, target_vox: Tensor, has_shape: Tensor) -> Tensor:
        """``L_w``: focal regression over particles ``[B, K, M, 3]`` (mm / spacing)."""
        return self.loss_world(world_vox, target_vox, has_shape)


def template_size(template_world: Tensor) -> Tensor:
    """``[K, 1, 1]`` root mean square distance of each template's particles to its centre, mm."""
    centred = template_world - template_world.mean(-2, keepdim=True)
    return centred.square().sum(-1).mean(-1).sqrt()[:, None, None].clamp(min=1e-3)
