"""The package as others get it: a wheel in an empty folder, without the checkout."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PIP = [sys.executable, '-m', 'pip', '-q', '--disable-pip-version-check', '--no-cache-dir']
# Isolated builds have no torch and so no kernels; beside torch the kernels are compiled.
BUILDS = {'without kernels': [], 'with kernels': ['--no-build-isolation']}


def run(command, check=True, **options):
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=600, **options
    )
    assert done.returncode == 0 or not check, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize('build', BUILDS)
def test_a_wheel_works_where_the_checkout_is_not(build, tmp_path):
    """Other packages are those of this environment, which PYTHONPATH comes before."""
    # Built from a copy, since setuptools writes beside what it builds.
    source = tmp_path / 'source'
    leftovers = shutil.ignore_patterns('__pycache__', '*.so')
    shutil.copytree(ROOT / 'massm', source / 'massm', ignore=leftovers)
    shutil.copytree(ROOT / 'requirements', source / 'requirements')
    for name in ('setup.py', 'pyproject.toml', 'README.md', 'LICENSE'):
        shutil.copy(ROOT / name, source)
    boxed = {f'massm/zoo/tiny/{name}' for name in ('metadata.json', 'pdm/a.npz', 'templates/a.ply')}
    for name in boxed:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text('{}', encoding='utf-8')
    path = f'{Path(sys.executable).parent}:{os.environ["PATH"]}'  # ninja's
    run(
        [*PIP, 'wheel', '.', '--no-deps', '-w', 'dist', *BUILDS[build]],
        cwd=source,
        env={**os.environ, 'PATH': path},
    )
    (wheel,) = (source / 'dist').glob('massm-*.whl')
    data = {
        str(file.relative_to(ROOT))
        for pattern in ('py.typed', 'ops/csrc/*', 'visualization/*.css', 'visualization/*.js')
        for file in (ROOT / 'massm').glob(pattern)
    }
    packed = set(zipfile.ZipFile(wheel).namelist())
    assert len(data) > 6 and data | boxed <= packed
    assert ('massm/ops/_kernels.so' in packed) == (build == 'with kernels')

    target, elsewhere = tmp_path / 'target', tmp_path / 'elsewhere'
    elsewhere.mkdir()
    run([*PIP, 'install', '--no-deps', '--target', target, wheel])
    environment = {**os.environ, 'PYTHONPATH': str(target)}
    if build == 'without kernels':
        environment['MASSM_COMPILED_OPS'] = '0'  # or they would be built on first use
    options = {'cwd': elsewhere, 'env': environment}
    found = run([sys.executable, '-c', 'import massm; print(massm.__file__)'], **options)
    assert Path(found.strip()) == target / 'massm/__init__.py'
    assert 'usage' in run([target / 'bin/massm', '--help'], **options)
    listed = json.loads(run([target / 'bin/massm', 'models', '--json'], check=False, **options))
    assert 'tiny' in [model['name'] for model in listed['models']]  # and that it is broken
    kind = {'without kernels': 'torch reference', 'with kernels': 'compiled'}[build]
    assert f'works, ROIPool3D: {kind}' in run([target / 'bin/massm', 'doctor'], **options)
