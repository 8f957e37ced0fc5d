"""The registries: children of mmengine's, scope ``massm``.

A config names a class by its ``type``; the class is found here because its module was imported
through the ``locations`` below, so no config has to list imports for what the package ships.
"""

from typing import Any

from mmengine.registry import DATA_SAMPLERS as MMENGINE_DATA_SAMPLERS
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import EVALUATOR, Registry
from mmengine.registry import FUNCTIONS as MMENGINE_FUNCTIONS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import LOG_PROCESSORS as MMENGINE_LOG_PROCESSORS
from mmengine.registry import LOOPS as MMENGINE_LOOPS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODEL_WRAPPERS as MMENGINE_MODEL_WRAPPERS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
from mmengine.registry import OPTIMIZERS as MMENGINE_OPTIMIZERS
from mmengine.registry import PARAM_SCHEDULERS as MMENGINE_PARAM_SCHEDULERS
from mmengine.registry import RUNNERS as MMENGINE_RUNNERS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import VISBACKENDS as MMENGINE_VISBACKENDS
from mmengine.registry import VISUALIZERS as MMENGINE_VISUALIZERS

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
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    'optimizer wrapper constructor',
    parent=MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
    scope='massm',
    locations=['massm.engine'],
)
LOOPS = Registry('loop', parent=MMENGINE_LOOPS, scope='massm', locations=['massm.engine'])
METRICS = Registry('metric', parent=MMENGINE_METRICS, scope='massm', locations=['massm.evaluation'])

# Kinds the package adds nothing to: children all the same, so that mmengine finds its own classes
# through the scope "massm" without a warning.
EVALUATORS = Registry('evaluator', parent=EVALUATOR, scope='massm')
FUNCTIONS = Registry('function', parent=MMENGINE_FUNCTIONS, scope='massm')
LOG_PROCESSORS = Registry('log processor', parent=MMENGINE_LOG_PROCESSORS, scope='massm')
MODEL_WRAPPERS = Registry('model_wrapper', parent=MMENGINE_MODEL_WRAPPERS, scope='massm')
OPTIMIZERS = Registry('optimizer', parent=MMENGINE_OPTIMIZERS, scope='massm')
OPTIM_WRAPPERS = Registry('optim_wrapper', parent=MMENGINE_OPTIM_WRAPPERS, scope='massm')
PARAM_SCHEDULERS = Registry('parameter scheduler', parent=MMENGINE_PARAM_SCHEDULERS, scope='massm')
RUNNERS = Registry('runner', parent=MMENGINE_RUNNERS, scope='massm')
VISBACKENDS = Registry('vis_backend', parent=MMENGINE_VISBACKENDS, scope='massm')
VISUALIZERS = Registry('visualizer', parent=MMENGINE_VISUALIZERS, scope='massm')


def build_network(settings: dict[str, Any]) -> Any:
    """The network of a config's ``model``, whatever other project's registries the process uses."""
    return MODELS.build({**settings, '_scope_': 'massm'})
