"""From scores to particles: DeepSSM's linear decoder, and the autoencoder of its TL variant."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from massm.models.precision import in_full_precision
from massm.shape.pdm import PointDistributionModel
from projects.deepssm.image_encoder import initialise_full_layers

# Of all variance, what the scores keep.
KEPT_VARIANCE = 0.95


class PCADecoder(nn.Module):
    """Particles as a linear function of whitened scores.

    Starts as the principal components of the training shapes, times their standard deviations, and
    their mean; a score beyond those stays without effect until the layer itself is trained. ``fit``
    sets ``size``, the shapes' spread.
    """

    def __init__(self, latents: int, num_particles: int) -> None:
        super().__init__()
        self.latents, self.num_particles = latents, num_particles
        self.layer = nn.Linear(latents, 3 * num_particles)
        nn.init.zeros_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)
        self.register_buffer('size', torch.ones(()))

    @torch.no_grad()
    def fit(self, shapes: PointDistributionModel) -> None:
        """Takes mean and modes of ``shapes``, at most as many as there are latents."""
        modes = torch.as_tensor(shapes.modes.reshape(len(shapes), -1).copy()).float()
        deviations = torch.as_tensor(shapes.variances.copy()).sqrt().float()
        self.layer.weight.zero_()
        self.layer.weight[:, : len(shapes)] = (modes * deviations[:, None]).T
        self.layer.bias.copy_(torch.as_tensor(shapes.mean.ravel().copy()))
        self.size.fill_(spread(shapes))

    def forward(self, scores: Tensor, frozen: bool = False) -> Tensor:
        """``[B, L]`` to ``[B, M, 3]``, mm; ``frozen``, the layer learns nothing of it."""
        weight, bias = self.layer.weight, self.layer.bias
        if frozen:
            weight, bias = weight.detach(), bias.detach()
        return in_full_precision(F.linear, scores, weight, bias).unflatten(-1, (-1, 3))


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

    def fit(self, shapes: PointDistributionModel) -> None:
        """Takes the mean of ``shapes``, and their spread as unit."""
        self.mean.copy_(torch.as_tensor(shapes.mean.ravel().copy()))
        self.size.fill_(spread(shapes))

    def scores(self, particles: Tensor) -> Tensor:
        """``[B, M, 3]`` mm to codes ``[B, L]``."""
        return self.encoder((particles.flatten(1) - self.mean) / self.size)

    def forward(self, codes: Tensor) -> Tensor:
        """``[B, L]`` to ``[B, M, 3]``, mm."""
        return (self.decoder(codes) * self.size + self.mean).unflatten(-1, (-1, 3))


def spread(shapes: PointDistributionModel) -> float:
    """Root mean square of what modes move a coordinate by, mm."""
    return max(float(shapes.variances.sum() / shapes.mean.size) ** 0.5, 1e-3)


def needed_modes(shapes: PointDistributionModel) -> int:
    """How many modes hold :data:`KEPT_VARIANCE`."""
    shares = shapes.variances.cumsum() / max(float(shapes.variances.sum()), 1e-12)
    return int((shares < KEPT_VARIANCE).sum()) + 1


def _layers(inside: int, first: int, second: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inside, first),
        nn.PReLU(),
        nn.Linear(first, second),
        nn.PReLU(),
        nn.Linear(second, out),
    )
