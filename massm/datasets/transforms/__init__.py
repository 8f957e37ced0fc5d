"""Steps of a data pipeline, one a file. A random step draws its parameters from the sample's own
generator (``results['rng']``) and then applies them, so that a sample can be replayed."""

from massm.datasets.transforms.load import LoadMasks, LoadParticles, LoadVolume
from massm.datasets.transforms.pack import PackShapeInputs
from massm.datasets.transforms.random_field_of_view import RandomFieldOfView
from massm.datasets.transforms.random_flip import RandomFlip
from massm.datasets.transforms.random_intensity import RandomIntensity
from massm.datasets.transforms.random_mr_intensity import RandomMRIntensity
from massm.datasets.transforms.random_removal import RandomRemoval
from massm.datasets.transforms.random_warp import RandomWarp
from massm.datasets.transforms.shape_model_warp import ShapeModelWarp

__all__ = [
    'LoadMasks',
    'LoadParticles',
    'LoadVolume',
    'PackShapeInputs',
    'RandomFieldOfView',
    'RandomFlip',
    'RandomIntensity',
    'RandomMRIntensity',
    'RandomRemoval',
    'RandomWarp',
    'ShapeModelWarp',
]
