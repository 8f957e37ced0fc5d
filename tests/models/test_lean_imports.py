"""Training and inference of particles run where Open3D and VTK are not installed."""

import subprocess
import sys

ABSENT = ('open3d', 'pyvista', 'vtk', 'pyacvd', 'pymeshfix')

SCRIPT = """
import sys
for name in {absent!r}:
    sys.modules[name] = None
import massm.commands.train, massm.apis.train, massm.apis.inferencer, massm.apis.test
from mmengine.registry import init_default_scope
from massm.apis.config import load_config
from massm.registry import DATASETS, HOOKS, METRICS, MODELS, TRANSFORMS
init_default_scope('massm')
config = load_config('configs/massm_r18_phantom.py', {{'data_root': {data!r}, 'spacing': 8.0,
                                                      'num_particles': 64}})
model = MODELS.build(config.model)
model.init_weights()
sample = DATASETS.build(config.train_dataloader.dataset)[0]
print('built', len(sample['data_samples'].boxes))
"""


def test_training_needs_no_open3d_and_no_vtk(tiny_dataset):
    script = SCRIPT.format(absent=ABSENT, data=str(tiny_dataset))
    done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True)
    assert 'built 7' in done.stdout, done.stderr[-2000:]
