"""DeepSSM's image encoder (Bhalodia et al. 2018; layers as in ShapeWorks' DeepSSM)."""

from collections.abc import Sequence

from torch import Tensor, nn

from massm.errors import ConfigError

# Of the convolutions, without padding, kernel 5; a pooling by two after the first, third and fifth.
CHANNELS = (12, 24, 48, 96, 192)
POOLED = (0, 2, 4)
KERNEL = 5
HIDDEN = (384, 96)


class ImageEncoder(nn.Module):
    """Five convolutions and two full layers to whitened scores.

    Args:
        in_channels: C.
        size: voxels of the input along each axis; the full layers need them fixed.
        latents: L.

    Raises:
        ConfigError: nothing would be left of so small an input.
    """

    def __init__(self, in_channels: int, size: Sequence[int], latents: int) -> None:
        super().__init__()
        left = [encoded_size(n) for n in size]
        if min(left) < 1:
            raise ConfigError(
                f'canvas {tuple(size)}: nothing is left of it after the convolutions; give at '
                f'least {smallest_size()} voxels an axis'
            )
        layers: list[nn.Module] = []
        inside = in_channels
        for i, width in enumerate(CHANNELS):
            layers += [nn.Conv3d(inside, width, KERNEL), nn.BatchNorm3d(width), nn.PReLU()]
            layers += [nn.MaxPool3d(2)] if i in POOLED else []
            inside = width
        layers.append(nn.Flatten())
        inside *= left[0] * left[1] * left[2]
        for width in HIDDEN:
            layers += [nn.Linear(inside, width), nn.PReLU()]
            inside = width
        self.layers = nn.Sequential(*layers, nn.Linear(inside, latents))
        initialise_full_layers(self)

    def forward(self, images: Tensor) -> Tensor:
        """``[B, C, X, Y, Z]`` to ``[B, L]`` scores in standard deviations."""
        return self.layers(images)


def initialise_full_layers(module: nn.Module) -> None:
    """Glorot and Bengio's (2010) normal weights, as the authors have it."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_normal_(part.weight)


def encoded_size(voxels: int) -> int:
    """Cells that the convolutions leave of ``voxels`` along an axis."""
    for i in range(len(CHANNELS)):
        voxels -= KERNEL - 1
        voxels //= 2 if i in POOLED else 1
    return voxels


def smallest_size() -> int:
    """Voxels along an axis of which one cell is left."""
    return next(n for n in range(1, 1000) if encoded_size(n) >= 1)
