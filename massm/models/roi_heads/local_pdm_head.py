"""Local particles: the template, placed at the box and bent to the image (the paper)."""

from mmengine.model import BaseModule
from torch import Tensor, nn

from massm.models.precision import in_full_precision
from massm.registry import MODELS


@MODELS.register_module()
class LocalPDMHead(BaseModule):
    """``L = template centred at the predicted centre + d tanh(MLP(x))``, d = 2 max(radius).

    Starts as the template: the last layer is zero.

    Args:
        in_channels: of a box's feature vector.
        num_particles: M.
        hidden_channels: widths of the MLP's hidden layers.
        loss: loss config; error in voxels.
    """

    def __init__(
        self,
        in_channels: int,
        num_particles: int,
        hidden_channels: tuple[int, ...] = (512, 512),
        loss: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        layers: list[nn.Module] = []
        inside = in_channels
        for width in hidden_channels:
            layers += [nn.Linear(inside, width), nn.LayerNorm(width), nn.ReLU(inplace=True)]
            inside = width
        last = nn.Linear(inside, 3 * num_particles)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.mlp = nn.Sequential(*layers, last)
        self.loss_local = MODELS.build(loss or {'type': 'massm.FocalRegressionLoss'})

    def forward(self, features: Tensor, boxes: Tensor, template_vox: Tensor) -> Tensor:
        """Local particles in voxels.

        Args:
            features: ``[B, K, D]`` of the boxes.
            boxes: ``[B, K, 6]``, voxels.
            template_vox: ``[K, M, 3]``, voxels, the middle of its extent at the origin.

        Returns:
            ``[B, K, M, 3]``.
        """
        reach = 2 * boxes[..., 3:].amax(-1)[..., None, None]
        bend = in_full_precision(self.mlp[-1], self.mlp[:-1](features)).tanh()
        bend = bend.unflatten(-1, (-1, 3))
        return boxes[:, :, None, :3] + template_vox + reach * bend

    def loss(self, local_vox: Tensor, target_vox: Tensor, has_shape: Tensor) -> Tensor:
        """``L_l``: focal regression over particles ``[B, K, M, 3]`` where ``has_shape``."""
        return self.loss_local(local_vox, target_vox, has_shape)
