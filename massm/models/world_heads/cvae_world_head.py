"""World particles through a pretrained shape decoder (MASSM §3.3, first version)."""

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

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
        config = {'type': 'ShapeCVAE', **(shape_vae or {})}
        self.shape_vae = MODELS.build(
            {**config, 'num_particles': num_particles, 'num_anatomies': num_anatomies}
        )
        self.mlp = mlp(
            [6 * num_particles + num_anatomies, *hidden_channels, self.shape_vae.latent_channels]
        )
        self.num_anatomies = num_anatomies
        self.loss_world = MODELS.build(loss or {'type': 'FocalRegressionLoss'})
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
        deviation = self.shape_vae.decode(code, one_hot).float().unflatten(-1, (-1, 3))
        return (template + deviation) * size

    def loss(self, world_vox: Tensor, target_vox: Tensor, has_shape: Tensor) -> Tensor:
        """``L_w``: focal regression over particles ``[B, K, M, 3]`` (mm / spacing)."""
        return self.loss_world(world_vox, target_vox, has_shape)


def template_size(template_world: Tensor) -> Tensor:
    """``[K, 1, 1]`` root mean square distance of each template's particles to its centre, mm."""
    centred = template_world - template_world.mean(-2, keepdim=True)
    return centred.square().sum(-1).mean(-1).sqrt()[:, None, None].clamp(min=1e-3)


def pretrain_shape_vae(
    head: CVAEWorldHead,
    world_mm: Tensor,
    exists: Tensor,
    template_world: Tensor,
    steps: int,
    batch_size: int,
    lr: float,
    seed: int,
) -> list[float]:
    """Trains the head's autoencoder on training shapes, then freezes it.

    Every batch blends two shapes of an anatomy, ``a d_i + b d_j`` with a² + b² = 1, which keeps the
    covariance of their deviations and shows the decoder shapes between the few it has.

    Args:
        world_mm: ``[N, K, M, 3]``; ``exists`` ``[N, K]`` says which are there.
        template_world: ``[K, M, 3]``.

    Returns:
        The loss of every step.
    """
    vae: nn.Module = head.shape_vae
    device = template_world.device
    subject, anatomy = exists.nonzero(as_tuple=True)
    size = template_size(template_world)
    shapes = ((world_mm.to(device) - template_world) / size)[subject, anatomy].flatten(1)
    mean, slots = _mean_per_anatomy(shapes, anatomy, exists.shape[1])
    generator = torch.Generator().manual_seed(seed)
    vae.requires_grad_(True).train()
    optimizer = torch.optim.Adam(vae.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    history = []
    for _ in range(steps):
        pick = torch.randint(len(shapes), (batch_size,), generator=generator)
        other = _same_anatomy(pick, anatomy, slots, generator)
        angle = torch.rand(batch_size, 1, generator=generator) * torch.pi / 2
        centre = mean[anatomy[pick]]
        blend = centre + angle.cos().to(device) * (shapes[pick] - centre)
        blend = blend + angle.sin().to(device) * (shapes[other] - centre)
        condition = torch.eye(exists.shape[1], device=device)[anatomy[pick]]
        noise = torch.randn(batch_size, vae.latent_channels, generator=generator).to(device)
        loss = vae.loss(blend, condition, noise)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        history.append(loss.detach())
    vae.is_trained.fill_(True)
    head.freeze()
    return [float(value) for value in history]


def _mean_per_anatomy(shapes: Tensor, anatomy: Tensor, count: int) -> tuple[Tensor, list[Tensor]]:
    slots = [(anatomy == k).nonzero()[:, 0] for k in range(count)]
    mean = torch.stack(
        [shapes[s].mean(0) if len(s) else torch.zeros_like(shapes[0]) for s in slots]
    )
    return mean, slots


def _same_anatomy(
    pick: Tensor, anatomy: Tensor, slots: list[Tensor], generator: torch.Generator
) -> Tensor:
    draw = torch.rand(len(pick), generator=generator)
    return torch.stack(
        [
            slots[k][int(d * len(slots[k]))]
            for k, d in zip(anatomy[pick].tolist(), draw, strict=True)
        ]
    )
