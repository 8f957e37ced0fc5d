"""World particles by a rigid fit and what the shape model makes of it; an addition to the paper."""

from collections.abc import Sequence

import torch
from torch import Tensor

from massm.io.templates import ShapeTemplate
from massm.models.precision import in_full_precision
from massm.models.world_heads.procrustes_world_head import ProcrustesWorldHead
from massm.registry import MODELS


@MODELS.register_module()
class PosteriorWorldHead(ProcrustesWorldHead):
    """The posterior mean of the shape, given local particles with Gaussian errors: rigidly fitted,
    then each mode of the population as large as its variance leaves of it beside the errors'.
    Learns nothing; for local heads that have no shape prior of their own.

    Args:
        num_particles, num_anatomies: M and K.
        modes: of the population, at most.
        noise: standard deviation of the local particles' errors, mm an axis (their local RMSE).
        independence: share of the particles that count as independent: neighbours err alike.
        loss: loss config; error in voxels.
    """

    def __init__(
        self,
        num_particles: int,
        num_anatomies: int,
        modes: int = 40,
        noise: float = 3.0,
        independence: float = 0.15,
        loss: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(num_particles, num_anatomies, loss, init_cfg)
        self.error_variance = noise**2 / independence
        shape = (num_particles, 3)
        self.register_buffer('mean', torch.zeros(num_anatomies, *shape))
        self.register_buffer('basis', torch.zeros(num_anatomies, modes, *shape))
        self.register_buffer('variance', torch.zeros(num_anatomies, modes))

    def read_templates(self, templates: Sequence[ShapeTemplate], spacing: float) -> None:
        """Takes the shape models of ``templates``, one an anatomy."""
        self.basis.zero_()
        self.variance.zero_()
        for k, template in enumerate(templates):
            model = template.pdm.truncate(self.basis.shape[1])
            self.mean[k] = torch.tensor(template.mean_world)
            self.basis[k, : len(model.modes)] = torch.tensor(model.modes)
            self.variance[k, : len(model.modes)] = torch.tensor(model.variances)

    def forward(self, local_mm: Tensor, template_world: Tensor) -> Tensor:
        """``[B, K, M, 3]`` local (mm) to world particles (mm), given ``[K, M, 3]`` templates."""
        return in_full_precision(self._posterior_mean, super().forward(local_mm, template_world))

    def _posterior_mean(self, world: Tensor) -> Tensor:
        along = torch.einsum('bkmc,klmc->bkl', world - self.mean, self.basis)
        kept = along * self.variance / (self.variance + self.error_variance)
        return self.mean + torch.einsum('bkl,klmc->bkmc', kept, self.basis)
