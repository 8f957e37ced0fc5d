"""Where a cell of a stride-s feature map lies in the input volume.

Every stride of the network is a convolution or pooling centred on its output (kernel 2p+1, padding
p), so cell c looks at voxel c·s; an impulse through the real network pins this in the tests. A stem
of even kernel looks half a voxel below that, which the maps that follow learn.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def cell_to_voxel(cell: Tensor, stride: float) -> Tensor:
    """Cell coordinates to voxels, any shape."""
    return cell * stride


def voxel_to_cell(voxel: Tensor, stride: float) -> Tensor:
    """Voxels to (fractional) cell coordinates, any shape; inverts :func:`cell_to_voxel`."""
    return voxel / stride


def double_resolution(features: Tensor, size: Sequence[int]) -> Tensor:
    """``[N, C, X, Y, Z]`` to ``[N, C, *size]``, trilinear, cell c landing on cell 2c.

    ``F.interpolate``'s own conventions would shift the map by a quarter of a coarse cell.

    Args:
        size: of the next finer level, per axis twice the coarse size or one less.
    """
    between = [2 * n - 1 for n in features.shape[2:]]
    fine = F.interpolate(features, size=between, mode='trilinear', align_corners=True)
    x, y, z = (wanted - have for wanted, have in zip(size, between, strict=True))
    return F.pad(fine, (0, z, 0, y, 0, x), mode='replicate')
