"""A tiny phantom cohort, prepared and in correspondence, shared by all tests and workers."""

import copy
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock

from massm.cli import run_command
from massm.phantom.anatomy import ANATOMIES
from massm.structures import Mesh
from tests.robustness.table import pytest_terminal_summary  # noqa: F401  the table at the end

# Two workers have a core each.
torch.set_num_threads(1 if 'PYTEST_XDIST_WORKER' in os.environ else 2)
if 'PYTEST_XDIST_WORKER' in os.environ:
    # Nor do commands start processes of their own, seconds of imports each, unless --jobs asks.
    os.environ.setdefault('LOKY_MAX_CPU_COUNT', '1')
ROOT = Path(__file__).parents[1]
TINY_PARTICLES, TINY_SPACING = 64, 8.0
FITTED_EPOCHS = 60
FITTED = f'epoch_{FITTED_EPOCHS}.pth'  # the checkpoint in the work dir of ``fitted``
# One file trains the network that others share, the other goes on without it meanwhile; then the
# longest.
FIRST = ('test_inputs.py', 'test_environment.py', 'test_training.py', 'test_shape_folder.py')


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Long files first; whatever needs a trained network is slow."""
    items.sort(key=lambda item: (*FIRST, item.path.name).index(item.path.name))
    for item in items:
        if {'fitted', 'trained'} & set(item.fixturenames):
            item.add_marker('slow')


@pytest.fixture(scope='session')
def real_data() -> Path:
    folder = os.environ.get('MASSM_TEST_DATA')
    if not folder:
        pytest.skip('MASSM_TEST_DATA is unset: no folder of real scans')
    return Path(folder)


@pytest.fixture(scope='session')
def shared(tmp_path_factory):
    """``shared(name, make)``: the folder that ``make(folder)`` fills, once for all workers."""
    root = tmp_path_factory.getbasetemp()
    root = (root.parent if 'PYTEST_XDIST_WORKER' in os.environ else root) / 'shared'
    root.mkdir(exist_ok=True)

    def folder(name: str, make: Callable[[Path], Any]) -> Path:
        out, made = root / name, root / f'{name}.made'
        with FileLock(root / f'{name}.lock'):
            if not made.exists():
                shutil.rmtree(out, ignore_errors=True)
                out.mkdir()
                make(out)
                made.touch()
        return out

    return folder


@pytest.fixture(scope='session')
def tiny_source(shared) -> Path:
    def make(out: Path):
        command = [str(out), '--subjects', '9', '--spacing', '8', '--seed', '3']
        assert run_command('make_phantom', command) == 0

    return shared('phantom', make)


@pytest.fixture(scope='session')
def tiny_dataset(tiny_source, shared) -> Path:
    def make(out: Path):
        prepare = [str(tiny_source), str(out), '--spacing', '8', '--anatomies', *ANATOMIES]
        assert run_command('prepare_dataset', prepare) == 0
        assert run_command('build_pdm', [str(out), '--particles', str(TINY_PARTICLES)]) == 0

    return shared('dataset', make)


@pytest.fixture(scope='session')
def tiny_config(tiny_dataset):
    """The phantom config on the tiny dataset, with a network of a few channels."""
    from massm.apis.config import load_config

    def build(**options):
        return load_config(
            ROOT / 'configs/massm_r18_paper.py',
            {
                'data_root': str(tiny_dataset),
                'spacing': TINY_SPACING,
                'num_particles': TINY_PARTICLES,
                'model.backbone.base_channels': 8,
                'model.neck.out_channels': 8,
                'model.dense_head.feat_channels': 8,
                'model.local_head.hidden_channels': (32,),
                'train_dataloader.num_workers': 0,
                'train_dataloader.persistent_workers': False,
                'val_dataloader.num_workers': 0,
                'val_dataloader.persistent_workers': False,
                'test_dataloader.num_workers': 0,
                'custom_hooks.CVAEPretrainHook.steps': 20,
                'log_level': 'WARNING',
                **options,
            },
        )

    return build


@pytest.fixture(scope='session')
def fitted(tiny_config, shared):
    """Config and work dir of a small network that knows the tiny cohort's training subjects."""
    from massm.apis.train import train

    config = tiny_config(
        **{
            'train_cfg.max_epochs': FITTED_EPOCHS,
            'train_cfg.val_interval': 100,
            'default_hooks.checkpoint.save_best': None,
            'default_hooks.checkpoint.interval': FITTED_EPOCHS,
            'model.backbone.base_channels': 16,
            'model.neck.out_channels': 16,
            'model.dense_head.feat_channels': 16,
            'custom_hooks.TeacherForcingHook.end': 20,
            'test_dataloader.dataset.split': 'train',
        }
    )
    config.train_dataloader.dataset.pipeline = config.test_dataloader.dataset.pipeline
    folder = shared('fitted', lambda out: train(copy.deepcopy(config), str(out)))
    config.work_dir = str(folder)
    return config, folder


@pytest.fixture(scope='session')
def model_directory(fitted, shared) -> Path:
    """The same network, exported."""
    from massm.inference.model_directory import export_model

    def make(out: Path):
        config, folder = fitted
        export_model(config, folder / FITTED, out / 'model', data='tiny phantom cohort')

    return shared('exported', make) / 'model'


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def ball(radius: float = 20.0, steps: int = 24) -> Mesh:
    """A closed sphere around the origin, normals outwards."""
    import open3d as o3d

    sphere = o3d.geometry.TriangleMesh.create_sphere(radius, steps)
    return Mesh(np.asarray(sphere.vertices), np.asarray(sphere.triangles))


@pytest.fixture
def sphere() -> Mesh:
    return ball()


def make_blob() -> Mesh:
    """A closed surface without symmetry: a bent egg with two bumps."""
    mesh = ball()
    x, y, z = (mesh.vertices / 20).T
    bumps = 1 + 0.35 * np.exp(-6 * ((x - 0.7) ** 2 + (y - 0.6) ** 2 + z**2))
    bumps += 0.25 * np.exp(-8 * ((x + 0.2) ** 2 + (y + 0.3) ** 2 + (z - 0.9) ** 2))
    points = mesh.vertices * bumps[:, None] * (1.5, 1.0, 0.8)
    points[:, 2] += 0.008 * points[:, 0] ** 2
    return mesh.with_vertices(points)


@pytest.fixture
def blob() -> Mesh:
    return make_blob()


@pytest.fixture
def screw() -> Mesh:
    """A chiral surface: a long egg twisted about its axis, with one bump near an end."""
    mesh = ball()
    x, y, z = (mesh.vertices * (2.0, 1.2, 0.6)).T
    turn = x / 25
    points = np.stack([x, np.cos(turn) * y - np.sin(turn) * z, np.sin(turn) * y + np.cos(turn) * z])
    bump = 1 + 0.4 * np.exp(-((x - 25) ** 2 + (y - 10) ** 2) / 60)
    return mesh.with_vertices(points.T * bump[:, None])
