"""World particles by a rigid fit to the template (the paper's second version)."""

from mmengine.model import BaseModule
from torch import Tensor

from massm.models.precision import in_full_precision
from massm.registry import MODELS
from massm.shape.alignment import rigidly_onto


@MODELS.register_module()
class ProcrustesWorldHead(BaseModule):
    """Differentiable Kabsch fit of the local particles to the template; learns nothing.

    Args:
        num_particles, num_anatomies: taken so that all world heads are built alike; unused.
        loss: loss config; error in voxels.
    """

    def __init__(
        self,
        num_particles: int = 0,
        num_anatomies: int = 0,
        loss: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.loss_world = MODELS.build(loss or {'type': 'massm.FocalRegressionLoss'})

    def forward(self, local_mm: Tensor, template_world: Tensor) -> Tensor:
        """``[B, K, M, 3]`` local (mm) to world particles (mm), given ``[K, M, 3]`` templates."""
        return in_full_precision(rigidly_onto, local_mm, template_world)

    def loss(self, world_vox: Tensor, target_vox: Tensor, has_shape: Tensor) -> Tensor:
        """``L_w``: focal regression over particles ``[B, K, M, 3]`` (mm / spacing)."""
        return self.loss_world(world_vox, target_vox, has_shape)
