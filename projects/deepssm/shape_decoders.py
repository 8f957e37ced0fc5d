"""From scores to particles: DeepSSM's linear decoder, and the autoencoder of its TL variant."""

import torch
from torch import Tensor, nn

from massm.shape.pdm import PointDistributionModel
from projects.deepssm.image_encoder import initialise_full_layers

# Of all variance, what the scores keep; at most as many as there are latents.
KEPT_VARIANCE = 0.95


class PCADecoder(nn.Module):
    """Particles as a linear function of whitened scores.

    Starts as the principal components of the training shapes and their mean; a score beyond those
    kept stays without effect until the layer itself is trained.
    """

    def __init__(self, latents: int, num_particles: int) -> None:
        super().__init__()
        self.latents, self.num_particles = latents, num_particles
        self.layer = nn.Linear(latents, 3 * num_particles)
        nn.init.zeros_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)
        for name, shape in (('modes', (latents, 3 * num_particles)), ('deviations', (latents,))):
            self.register_buffer(name, torch.zeros(shape))
        self.register_buffer('mean', torch.zeros(3 * num_particles))

    def fit(self, shapes: PointDistributionModel) -> int:
        """Takes mean and modes of ``shapes``.

        Returns:
            How many modes are kept.
        """
        kept = kept_modes(shapes, self.latents)
        own = shapes.truncate(kept)
        for buffer in (self.modes, self.deviations):
            buffer.zero_()
        self.mean.copy_(torch.as_tensor(own.mean.ravel().copy()))
        self.modes[:kept] = torch.as_tensor(own.modes.reshape(kept, -1).copy()).float()
        self.deviations[:kept] = torch.as_tensor(own.variances.copy()).sqrt().float()
        with torch.no_grad():
            self.layer.weight.copy_((self.modes * self.deviations[:, None]).T)
            self.layer.bias.copy_(self.mean)
        return kept

    @property
    def is_kept(self) -> Tensor:
        """``[L]`` bool: scores that say anything."""
        return self.deviations > 0

    def scores(self, particles: Tensor) -> Tensor:
        """``[B, M, 3]`` mm to their whitened scores ``[B, L]``; 0 where no mode is kept."""
        along = (particles.flatten(1) - self.mean) @ self.modes.T
        return torch.where(self.is_kept, along / self.deviations.clamp(min=1e-6), 0.0)

    def forward(self, scores: Tensor) -> Tensor:
        """``[B, L]`` to ``[B, M, 3]``, mm."""
        return self.layer(scores).unflatten(-1, (-1, 3))


class ParticleAutoencoder(nn.Module):
    """The TL variant's: particles to a code and back, through two hidden layers each way.

    Particles are counted from the training shapes' mean in units of their size, which ``fit`` sets.
    """

    def __init__(
        self, latents: int, num_particles: int, hidden: tuple[int, int] = (1024, 512)
    ) -> None:
        super().__init__()
        wide, narrow = hidden
        self.encoder = _layers(3 * num_particles, wide, narrow, latents)
        self.decoder = _layers(latents, narrow, wide, 3 * num_particles)
        self.register_buffer('mean', torch.zeros(3 * num_particles))
        self.register_buffer('size', torch.ones(()))
        initialise_full_layers(self)

    def fit(self, shapes: PointDistributionModel) -> int:
        """Takes the mean of ``shapes`` and the root of their variance as unit.

        Returns:
            How many latents there are.
        """
        self.mean.copy_(torch.as_tensor(shapes.mean.ravel().copy()))
        spread = float(shapes.variances.sum() / shapes.mean.size) ** 0.5
        self.size.fill_(max(spread, 1e-3))
        return self.decoder[0].in_features

    def scores(self, particles: Tensor) -> Tensor:
        """``[B, M, 3]`` mm to codes ``[B, L]``."""
        return self.encoder((particles.flatten(1) - self.mean) / self.size)

    def forward(self, codes: Tensor) -> Tensor:
        """``[B, L]`` to ``[B, M, 3]``, mm."""
        return (self.decoder(codes) * self.size + self.mean).unflatten(-1, (-1, 3))


def kept_modes(shapes: PointDistributionModel, most: int) -> int:
    """How many modes hold :data:`KEPT_VARIANCE`, at most ``most``."""
    shares = shapes.variances.cumsum() / max(float(shapes.variances.sum()), 1e-12)
    needed = int((shares < KEPT_VARIANCE).sum()) + 1
    return min(needed, most, len(shapes))


def _layers(inside: int, first: int, second: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inside, first),
        nn.PReLU(),
        nn.Linear(first, second),
        nn.PReLU(),
        nn.Linear(second, out),
    )
