"""Moves each particle by what the image shows around it; an addition to the paper.

The ROI vector of :class:`LocalPDMHead` has to describe a whole surface at once. Here every particle
reads the pyramid where it lies and one small network, shared by all particles of all anatomies,
says how far it is from its place: tens of thousands of examples a volume instead of a few.
"""

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from massm.models.precision import in_full_precision
from massm.ops import sample_volume, voxel_to_cell
from massm.registry import MODELS


@MODELS.register_module()
class ParticleRefineHead(BaseModule):
    """``steps`` rounds of: sample the levels at the particles, add ``reach * tanh(MLP)``.

    Starts as the identity: the last layer is zero.

    Args:
        in_channels: of every pyramid level.
        num_anatomies, num_particles: K and M; each particle has a learnt code.
        strides: voxels per cell of every pyramid level, finest first.
        levels: how many of them are read.
        code_channels: of the code.
        hidden_channels: of the shared MLP.
        reach: largest move of a round, voxels.
        steps: rounds, with shared weights.
    """

    def __init__(
        self,
        in_channels: int,
        num_anatomies: int,
        num_particles: int,
        strides: Sequence[int],
        levels: int = 3,
        code_channels: int = 16,
        hidden_channels: int = 128,
        reach: float = 4.0,
        steps: int = 2,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.strides, self.reach, self.steps = list(strides[:levels]), reach, steps
        self.code = nn.Parameter(torch.randn(num_anatomies, num_particles, code_channels))
        inside = in_channels * len(self.strides) + code_channels
        self.mlp = nn.Sequential(
            nn.Linear(inside, hidden_channels),
            nn.LayerNorm(hidden_channels),
            nn.ReLU(inplace=True),
            nn.Linear(hidden_channels, hidden_channels),
            nn.ReLU(inplace=True),
            nn.Linear(hidden_channels, 3),
        )
        nn.init.zeros_(self.mlp[-1].weight)
        nn.init.zeros_(self.mlp[-1].bias)

    def forward(self, pyramid: list[Tensor], local_vox: Tensor) -> list[Tensor]:
        """Local particles ``[B, K, M, 3]`` (voxels) after each round."""
        rounds = []
        for _ in range(self.steps):
            where = local_vox.detach()
            features = [
                sample_volume(level, voxel_to_cell(where, stride).unsqueeze(3))[..., 0]
                for level, stride in zip(pyramid, self.strides, strict=False)
            ]
            code = self.code.expand(len(where), -1, -1, -1)
            seen = torch.cat([*(f.permute(0, 2, 3, 1) for f in features), code], -1)
            step = in_full_precision(self.mlp[-1], self.mlp[:-1](seen))
            local_vox = where + self.reach * torch.tanh(step)
            rounds.append(local_vox)
        return rounds
