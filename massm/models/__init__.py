"""The network: every part a registered class, built from the config."""

from massm.models.backbones.resnet3d import ResNet3D
from massm.models.data_preprocessor import VolumePreprocessor
from massm.models.dense_heads.centernet3d_head import CenterNet3DHead
from massm.models.dense_heads.segmentation_head import SegmentationHead
from massm.models.dense_heads.soft_center_head import SoftCenterHead
from massm.models.losses.focal_heatmap import HeatmapFocalLoss
from massm.models.losses.focal_regression import FocalRegressionLoss
from massm.models.massm import MASSM
from massm.models.necks.fpn3d import FPN3D
from massm.models.roi_heads.local_pdm_head import LocalPDMHead
from massm.models.roi_heads.particle_refine_head import ParticleRefineHead
from massm.models.roi_heads.roi_pool_extractor import MultiLevelROIPool3D
from massm.models.roi_heads.shape_fit_head import ShapeFitHead
from massm.models.shape_vae.cvae import ShapeCVAE
from massm.models.world_heads.cvae_world_head import CVAEWorldHead
from massm.models.world_heads.posterior_world_head import PosteriorWorldHead
from massm.models.world_heads.procrustes_world_head import ProcrustesWorldHead

__all__ = [
    'FPN3D',
    'MASSM',
    'CVAEWorldHead',
    'CenterNet3DHead',
    'FocalRegressionLoss',
    'HeatmapFocalLoss',
    'LocalPDMHead',
    'MultiLevelROIPool3D',
    'ParticleRefineHead',
    'PosteriorWorldHead',
    'ProcrustesWorldHead',
    'ResNet3D',
    'SegmentationHead',
    'ShapeCVAE',
    'ShapeFitHead',
    'SoftCenterHead',
    'VolumePreprocessor',
]
