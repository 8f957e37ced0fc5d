"""ResNet in three dimensions (He et al. 2016; Hara et al. 2018)."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import Tensor, nn

from massm.errors import CheckpointError, ConfigError
from massm.registry import MODELS
from massm.structures.grid import CELL

BLOCKS = {
    10: ('basic', (1, 1, 1, 1)),
    18: ('basic', (2, 2, 2, 2)),
    34: ('basic', (3, 4, 6, 3)),
    50: ('bottleneck', (3, 4, 6, 3)),
    101: ('bottleneck', (3, 4, 23, 3)),
}


class ZeroPadShortcut(nn.Module):
    """Shortcut of type A: strided, new channels zero."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.channels, self.stride = channels, stride

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, X, Y, Z]`` to ``[N, channels, X/s, Y/s, Z/s]``."""
        s = self.stride
        strided = x[:, :, ::s, ::s, ::s]
        return F.pad(strided, (0, 0, 0, 0, 0, 0, 0, self.channels - x.shape[1]))


class BasicBlock(nn.Module):
    """Two 3x3x3 convolutions."""

    expansion = 1

    def __init__(self, inside: int, width: int, stride: int, shortcut: nn.Module, norm: dict):
        super().__init__()
        self.conv1 = nn.Conv3d(inside, width, 3, stride, 1, bias=False)
        self.norm1 = build_norm_layer(norm, width)[1]
        self.conv2 = nn.Conv3d(width, width, 3, 1, 1, bias=False)
        self.norm2 = build_norm_layer(norm, width)[1]
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Residual step."""
        out = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(out)) + self.downsample(x))


class Bottleneck(nn.Module):
    """1x1x1, 3x3x3 (strided), 1x1x1 to four times the width."""

    expansion = 4

    def __init__(self, inside: int, width: int, stride: int, shortcut: nn.Module, norm: dict):
        super().__init__()
        self.conv1 = nn.Conv3d(inside, width, 1, bias=False)
        self.norm1 = build_norm_layer(norm, width)[1]
        self.conv2 = nn.Conv3d(width, width, 3, stride, 1, bias=False)
        self.norm2 = build_norm_layer(norm, width)[1]
        self.conv3 = nn.Conv3d(width, 4 * width, 1, bias=False)
        self.norm3 = build_norm_layer(norm, 4 * width)[1]
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Residual step."""
        out = F.relu(self.norm1(self.conv1(x)))
        out = F.relu(self.norm2(self.conv2(out)))
        return F.relu(self.norm3(self.conv3(out)) + self.downsample(x))


@MODELS.register_module()
class ResNet3D(BaseModule):
    """Four stages, the first at a stride of :data:`CELL` (the stem's), each next one at twice that.

    Args:
        depth: 10, 18, 34, 50 or 101.
        in_channels: of the volume.
        base_channels: width of the first stage; doubled at each next one.
        norm_cfg: mmcv norm config; group norm by default, since batches hold 1 or 2 volumes.
        shortcut_type: ``B`` (1x1x1 convolution) or ``A`` (zero padding).
        bias_downsample: whether type B's convolution has a bias (MONAI's 18 and 34 do not need
            it, its 10 does).
        stem_kernel: size of the first convolution; small ones cost a CPU a third of its time less.
        pretrained: local file with the state dict of a MONAI or MedicalNet ResNet.
        with_stem: also give the stem's features, before pooling, at half the first stride.
        with_checkpoint: recompute blocks in the backward pass (less memory, a third more time).

    Raises:
        ConfigError: the depth or shortcut is unknown, or the channels make no whole groups.
        CheckpointError: ``pretrained`` cannot be read or does not fit.
    """

    def __init__(
        self,
        depth: int = 18,
        in_channels: int = 1,
        base_channels: int = 64,
        norm_cfg: dict | None = None,
        shortcut_type: str = 'B',
        bias_downsample: bool = False,
        stem_kernel: int = 7,
        pretrained: str | None = None,
        with_stem: bool = False,
        with_checkpoint: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if depth not in BLOCKS or shortcut_type not in ('A', 'B'):
            raise ConfigError(
                f'ResNet3D: depth must be one of {sorted(BLOCKS)} and shortcut_type A or B, got '
                f'{depth} and {shortcut_type!r}'
            )
        self.norm_cfg = norm_cfg or {'type': 'GN', 'num_groups': 8}
        groups = self.norm_cfg.get('num_groups', 1)
        if base_channels < 1 or base_channels % groups:
            raise ConfigError(
                f'ResNet3D: base_channels must be a multiple of the {groups} groups that norm_cfg '
                f'normalises together, got {base_channels}'
            )
        self.shortcut_type, self.bias_downsample = shortcut_type, bias_downsample
        self.with_checkpoint = with_checkpoint
        kind, counts = BLOCKS[depth]
        self.block: type[BasicBlock] | type[Bottleneck] = (
            BasicBlock if kind == 'basic' else Bottleneck
        )
        self.conv1 = nn.Conv3d(
            in_channels, base_channels, stem_kernel, 2, (stem_kernel - 1) // 2, bias=False
        )
        self.norm1 = build_norm_layer(self.norm_cfg, base_channels)[1]
        self.maxpool = nn.MaxPool3d(3, 2, 1)
        self.with_stem = with_stem
        stages = [base_channels * 2**i * self.block.expansion for i in range(4)]
        self.strides = [CELL // 2] * with_stem + [CELL * 2**i for i in range(4)]
        self.out_channels = [base_channels] * with_stem + stages
        inside = base_channels
        for i, count in enumerate(counts):
            stage = self._stage(inside, base_channels * 2**i, count, 1 if i == 0 else 2)
            self.add_module(f'layer{i + 1}', stage)
            inside = stages[i]
        self._initialise()
        if pretrained is not None:
            self.load_pretrained(Path(pretrained))

    def forward(self, x: Tensor) -> list[Tensor]:
        """``[B, C, X, Y, Z]`` (sizes multiples of 4) to the four stages' features,
        those of the stem before them where they are asked for."""
        stem = F.relu(self.norm1(self.conv1(x)))
        x = self.maxpool(stem)
        features = [stem] if self.with_stem else []
        for i in range(4):
            stage = getattr(self, f'layer{i + 1}')
            for block in stage:
                x = self._run(block, x)
            features.append(x)
        return features

    def load_pretrained(self, path: Path) -> None:
        """Loads a MONAI or MedicalNet state dict; its classifier is left out.

        Raises:
            CheckpointError: unreadable, or a weight is missing or of another shape.
        """
        try:
            state = torch.load(path, map_location='cpu', weights_only=True)
        except Exception as error:
            raise CheckpointError(
                f'{path}: not a file of weights ({type(error).__name__}); give the .pth or .pt '
                'file of a MONAI or MedicalNet ResNet'
            ) from error
        converted = convert_monai_state_dict(state.get('state_dict', state))
        own = self.state_dict()
        if _is_of_batches(converted) and not _is_of_batches(own):
            raise CheckpointError(
                f'{path}: was trained with batch normalisation, whose statistics this network has '
                "no place for; set norm_cfg = dict(type='BN3d')"
            )
        wrong = [k for k, v in own.items() if k not in converted or converted[k].shape != v.shape]
        wrong = [k for k in wrong if not k.endswith('num_batches_tracked')]
        if wrong:
            raise CheckpointError(
                f'{path}: {len(wrong)} weights are missing or of another shape (first: '
                f'{wrong[0]}); depth, base_channels, norm_cfg, shortcut_type and bias_downsample '
                'must be those of the file'
            )
        self.load_state_dict(converted, strict=False)
        print_log(f'ResNet3D: weights of {path} loaded', logger='current')

    def _stage(self, inside: int, width: int, count: int, stride: int) -> nn.Sequential:
        out = width * self.block.expansion
        blocks = [
            self.block(inside, width, stride, self._shortcut(inside, out, stride), self.norm_cfg)
        ]
        for _ in range(count - 1):
            blocks.append(self.block(out, width, 1, nn.Identity(), self.norm_cfg))
        return nn.Sequential(*blocks)

    def _shortcut(self, inside: int, out: int, stride: int) -> nn.Module:
        if stride == 1 and inside == out:
            return nn.Identity()
        if self.shortcut_type == 'A':
            return ZeroPadShortcut(out, stride)
        return nn.Sequential(
            nn.Conv3d(inside, out, 1, stride, bias=self.bias_downsample),
            build_norm_layer(self.norm_cfg, out)[1],
        )

    def _run(self, block: nn.Module, x: Tensor) -> Tensor:
        if self.with_checkpoint and x.requires_grad:
            return torch.utils.checkpoint.checkpoint(block, x, use_reentrant=False)
        return block(x)

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')


def convert_monai_state_dict(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """MONAI's names (``module.layer1.0.bn1.weight``) to ours (``layer1.0.norm1.weight``)."""
    converted = {}
    for key, value in state.items():
        name = re.sub(r'\bbn(\d)', r'norm\1', key.removeprefix('module.'))
        if not name.startswith('fc.'):
            converted[name] = value
    return converted


def _is_of_batches(state: Mapping[str, Tensor]) -> bool:
    """Whether layers keep statistics over batches."""
    return any(name.endswith('running_mean') for name in state)
