"""The network alone as one file for other programs: ``torch.export`` or ONNX."""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from massm.errors import ConfigError
from massm.io.atomic import replacing
from massm.models.massm import MASSM, image_sizes
from massm.models.roi_heads.shape_fit_head import ShapeFitHead
from massm.ops import traceable_roi_pool3d

OUTPUTS = ('boxes_vox', 'scores', 'local_vox', 'world_mm')


class ExportedNetwork(nn.Module):
    """HU volume to tensors, nothing else: no samples, no files.

    Args:
        model: trained.
    """

    def __init__(self, model: MASSM) -> None:
        super().__init__()
        self.model = model

    def forward(self, volume_hu: Tensor) -> tuple[Tensor, ...]:
        """``[B, 1, X, Y, Z]`` HU at the model's spacing, sizes multiples of 4, to ``boxes_vox``
        ``[B, K, 6]``, ``scores`` ``[B, K]``, ``local_vox`` and ``world_mm`` ``[B, K, M, 3]``."""
        inputs = self.model.data_preprocessor.normalise(volume_hu)
        sizes = image_sizes(inputs, None)
        padded = F.pad(inputs, 3 * (0, self.model.data_preprocessor.size_divisor))
        out = self.model.predict_batch(padded, sizes)
        return out.boxes, out.scores, out.local_vox, out.world_mm


def export_network(model: MASSM, size: Sequence[int], path: Path) -> None:
    """Writes the network for volumes of one size; ROI pooling becomes plain tensor operations.

    Args:
        model: trained, on the CPU.
        size: X, Y, Z of the volumes, multiples of 4; smaller volumes are padded with air.
        path: ``.pt2`` for ``torch.export``, ``.onnx`` for ONNX (needs ``onnxscript``).

    Raises:
        ConfigError: another ending or size, ONNX without its package, or a network that fits shapes
            to the image.
    """
    if isinstance(model.local_head, ShapeFitHead):
        raise ConfigError(
            'this network fits shapes to the image, which cannot be written as one graph; use the '
            'model directory itself (massm infer, or MASSMInferencer in Python)'
        )
    step = model.data_preprocessor.size_divisor
    if len(size) != 3 or any(n < step or n % step for n in size):
        raise ConfigError(f'size {tuple(size)}: give three multiples of {step}')
    network = ExportedNetwork(model).eval()
    example = (torch.zeros(1, 1, *size),)
    if path.suffix == '.pt2':
        with torch.no_grad(), traceable_roi_pool3d():
            program = torch.export.export(network, example)
        with replacing(path) as temporary:
            torch.export.save(program, temporary)
    elif path.suffix == '.onnx':
        _write_onnx(network, example, path)
    else:
        raise ConfigError(f'{path}: name a file that ends in .pt2 or .onnx')


def _write_onnx(network: nn.Module, example: tuple[Tensor], path: Path) -> None:
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError('ONNX needs a package more: pip install "massm[onnx]"') from error
    with torch.no_grad(), traceable_roi_pool3d():
        program = torch.onnx.export(
            network,
            example,
            dynamo=True,
            input_names=['volume_hu'],
            output_names=list(OUTPUTS),
            verbose=False,
        )
    with replacing(path) as temporary:
        program.save(str(temporary), external_data=False)
