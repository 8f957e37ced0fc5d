"""A conditional variational autoencoder of world particles (Kingma & Welling 2014; Sohn 2015)."""

from itertools import pairwise

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from massm.models.precision import in_full_precision
from massm.registry import MODELS


def mlp(sizes: list[int]) -> nn.Sequential:
    """Linear layers with layer norm and ReLU between them."""
    layers: list[nn.Module] = []
    for inside, out in pairwise(sizes[:-1]):
        layers += [nn.Linear(inside, out), nn.LayerNorm(out), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


@MODELS.register_module()
class ShapeCVAE(BaseModule):
    """Encodes and decodes deviations from the template, given the anatomy.

    Deviations are ``[N, 3M]`` in units of the template's size, so that organs of any size weigh
    the same.

    Args:
        num_particles: M.
        num_anatomies: K, the condition's length.
        latent_channels: of the code.
        hidden_channels: of both networks, encoder order.
        kl_weight: of the prior term.
    """

    def __init__(
        self,
        num_particles: int,
        num_anatomies: int,
        latent_channels: int = 32,
        hidden_channels: tuple[int, ...] = (512, 256),
        kl_weight: float = 1e-4,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        hidden = list(hidden_channels)
        size = 3 * num_particles
        self.latent_channels, self.kl_weight = latent_channels, kl_weight
        self.encoder = mlp([size + num_anatomies, *hidden, 2 * latent_channels])
        self.decoder = mlp([latent_channels + num_anatomies, *hidden[::-1], size])
        self.register_buffer('is_trained', torch.tensor(False))

    def encode(self, deviation: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance ``[N, latent]`` of ``[N, 3M]`` deviations."""
        mean, log_variance = self.encoder(torch.cat([deviation, condition], -1)).chunk(2, -1)
        return mean, log_variance.clamp(-10, 10)

    def decode(self, code: Tensor, condition: Tensor) -> Tensor:
        """``[..., 3M]`` deviations of ``[..., latent]`` codes, given one-hot ``[..., K]``."""
        hidden = self.decoder[:-1](torch.cat([code, condition], -1))
        return in_full_precision(self.decoder[-1], hidden)

    def loss(self, deviation: Tensor, condition: Tensor, noise: Tensor) -> Tensor:
        """Mean squared error plus the weighted Kullback-Leibler term; ``noise`` ``[N, latent]``
        is standard normal."""
        mean, log_variance = self.encode(deviation, condition)
        rebuilt = self.decode(mean + noise * torch.exp(0.5 * log_variance), condition)
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        return (rebuilt - deviation).square().mean() + self.kl_weight * kl
