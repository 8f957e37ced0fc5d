"""Where a cell of a stride-s feature map lies in the input volume.

Every stride of the network is a convolution or pooling centred on its output (kernel 2p+1, padding
p), so cell c looks at voxel c·s; an impulse through the real network pins this in the tests.
"""

import torch.nn.functional as F
from torch import Tensor


def cell_to_voxel(cell: Tensor, stride: float) -> Tensor:
    """Cell coordinates to voxels, any shape."""
    return cell * stride


def voxel_to_cell(voxel: Tensor, stride: float) -> Tensor:
    """Voxels to (fractional) cell coordinates, any shape; inverts :func:`cell_to_voxel`."""
    return voxel / stride


def double_resolution(features: Tensor) -> Tensor:
    """``[N, C, X, Y, Z]`` to ``[N, C, 2X, 2Y, 2Z]``, trilinear, cell c landing on cell 2c.

    ``F.interpolate``'s own conventions would shift the map by a quarter of a coarse cell.
    """
    size = [2 * n - 1 for n in features.shape[2:]]
    fine = F.interpolate(features, size=size, mode='trilinear', align_corners=True)
    return F.pad(fine, (0, 1, 0, 1, 0, 1), mode='replicate')
