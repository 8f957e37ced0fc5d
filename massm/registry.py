"""The registries: children of mmengine's, scope ``massm``.

A config names a class by its ``type``; the class is found here because its module was imported
through the ``locations`` below, so no config has to list imports for what the package ships.
"""

from mmengine.registry import DATA_SAMPLERS as MMENGINE_DATA_SAMPLERS
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import Registry

MODELS = Registry('model', parent=MMENGINE_MODELS, scope='massm', locations=['massm.models'])
DATASETS = Registry(
    'dataset', parent=MMENGINE_DATASETS, scope='massm', locations=['massm.datasets']
)
DATA_SAMPLERS = Registry(
    'data sampler', parent=MMENGINE_DATA_SAMPLERS, scope='massm', locations=['massm.datasets']
)
TRANSFORMS = Registry(
    'transform',
    parent=MMENGINE_TRANSFORMS,
    scope='massm',
    locations=['massm.datasets.transforms'],
)
HOOKS = Registry('hook', parent=MMENGINE_HOOKS, scope='massm', locations=['massm.engine'])
METRICS = Registry('metric', parent=MMENGINE_METRICS, scope='massm', locations=['massm.evaluation'])
