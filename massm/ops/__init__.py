"""Operations on volumes and boxes; each one public function."""

from massm.ops.cells import cell_to_voxel, double_resolution, voxel_to_cell
from massm.ops.roi_pool3d import multi_level_roi_pool3d, roi_pool3d, traceable_roi_pool3d
from massm.ops.sampling import sample_patterns, sample_volume

__all__ = [
    'cell_to_voxel',
    'double_resolution',
    'multi_level_roi_pool3d',
    'roi_pool3d',
    'sample_patterns',
    'sample_volume',
    'traceable_roi_pool3d',
    'voxel_to_cell',
]
