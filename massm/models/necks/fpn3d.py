"""Feature pyramid network (Lin et al. 2017) in three dimensions."""

from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from torch import Tensor, nn

from massm.ops import double_resolution
from massm.registry import MODELS


@MODELS.register_module()
class FPN3D(BaseModule):
    """Brings all stages to ``out_channels`` and adds each coarser one to the next finer.

    Args:
        in_channels: of the backbone's stages, fine to coarse.
        out_channels: of every output.
        norm_cfg: mmcv norm config; group norm by default.
        num_outs: levels that are given, from the finest; all without.
    """

    def __init__(
        self,
        in_channels: list[int],
        out_channels: int = 64,
        norm_cfg: dict | None = None,
        num_outs: int | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        norm = norm_cfg or {'type': 'GN', 'num_groups': 8}
        self.lateral = nn.ModuleList([nn.Conv3d(c, out_channels, 1) for c in in_channels])
        self.smooth = nn.ModuleList(
            [
                nn.Sequential(
                    nn.Conv3d(out_channels, out_channels, 3, padding=1, bias=False),
                    build_norm_layer(norm, out_channels)[1],
                    nn.ReLU(inplace=True),
                )
                for _ in in_channels[:num_outs]
            ]
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Stages fine to coarse, each half the size of the last (rounded
        up), to as many pyramid levels, or the first ``num_outs``."""
        merged = [lateral(x) for lateral, x in zip(self.lateral, features, strict=True)]
        for i in range(len(merged) - 2, -1, -1):
            merged[i] = merged[i] + double_resolution(merged[i + 1], merged[i].shape[2:])
        return [smooth(x) for smooth, x in zip(self.smooth, merged, strict=False)]
