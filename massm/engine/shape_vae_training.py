"""The training loop of the shape autoencoder, before the network's own."""

import torch
from torch import Tensor, nn

from massm.models.world_heads.cvae_world_head import CVAEWorldHead, template_size


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
    # The last gradients go too: any optimiser that knew the parameters would take one step by them.
    optimizer.zero_grad(set_to_none=True)
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
