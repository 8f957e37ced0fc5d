"""Cells of the detector's maps: which are real, where the targets lie, how to read them."""

import torch
from torch import Size, Tensor

from massm.ops import cell_to_voxel, voxel_to_cell


def cell_grid(maps: Tensor) -> Tensor:
    """``[X, Y, Z, 3]`` indices of the cells of ``[B, C, X, Y, Z]`` maps."""
    axes = [torch.arange(n, device=maps.device) for n in maps.shape[2:]]
    return torch.stack(torch.meshgrid(*axes, indexing='ij'), -1)


def valid_cells(maps: Tensor, image_sizes: Tensor, stride: int) -> Tensor:
    """``[B, 1, X, Y, Z]`` bool: cells whose voxel lies in the volume, not in its padding."""
    voxels = cell_to_voxel(cell_grid(maps), stride)
    return (voxels < image_sizes[:, None, None, None]).all(-1).unsqueeze(1)


def nearest_cell(centers_vox: Tensor, image_sizes: Tensor, stride: int) -> Tensor:
    """``[B, K, 3]`` index of the valid cell nearest to each centre (voxels)."""
    last = torch.div(image_sizes - 1, stride, rounding_mode='floor')[:, None]
    cell = voxel_to_cell(centers_vox, stride).round().long()
    return torch.minimum(cell.clamp(min=0), last.to(cell))


def flat_index(cells: Tensor, size: Size) -> Tensor:
    """``[...]`` index into a flattened map of ``size`` of ``cells`` ``[..., 3]``."""
    return (cells[..., 0] * size[1] + cells[..., 1]) * size[2] + cells[..., 2]


def gather_cells(maps: Tensor, index: Tensor) -> Tensor:
    """``[B, K, C]`` values of ``[B, C, X, Y, Z]`` maps at flat cell indices ``[B, K]``."""
    flat = maps.flatten(2)
    return flat.gather(2, index[:, None].expand(-1, flat.shape[1], -1)).transpose(1, 2)


def gather_own(maps: Tensor, index: Tensor) -> Tensor:
    """``[B, K]`` value of every anatomy's own map ``[B, K, X, Y, Z]`` at its flat cell index."""
    return maps.flatten(2).gather(2, index.unsqueeze(2)).squeeze(2)


def gaussian_targets(
    shape: Size,
    boxes: Tensor,
    has_box: Tensor,
    image_sizes: Tensor,
    stride: int,
    sigma_share: float,
    least: float = 1.0,
) -> Tensor:
    """Heat map targets ``[B, K, X, Y, Z]``: a Gaussian around the cell nearest to each centre,
    exactly 1 there; all zero where there is no box.

    Args:
        boxes: ``[B, K, 6]`` voxels.
        sigma_share: standard deviation over the box's radius, per axis.
        least: smallest standard deviation, cells.
    """
    center = nearest_cell(boxes[..., :3], image_sizes, stride)
    sigma = voxel_to_cell(sigma_share * boxes[..., 3:], stride).clamp(min=least)
    target = torch.ones((), device=boxes.device)
    for axis in range(3):
        cells = torch.arange(shape[2 + axis], device=boxes.device)
        distance = (cells - center[..., axis : axis + 1]) / sigma[..., axis : axis + 1]
        view = [*distance.shape[:2], 1, 1, 1]
        view[2 + axis] = shape[2 + axis]
        target = target * torch.exp(-0.5 * distance.square()).view(view)
    return target * has_box[:, :, None, None, None]
