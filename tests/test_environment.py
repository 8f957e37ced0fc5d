"""What the README promises about commands and set-up."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, 'VIRTUAL_ENV': sys.prefix}
ENVIRONMENT['PATH'] = f'{Path(sys.executable).parent}:{os.environ["PATH"]}'


@pytest.mark.slow
def test_quickstart_runs_from_another_directory_and_again(tmp_path):
    """The README's first command on a small cohort; the second run does nothing twice."""
    command = ['bash', str(ROOT / 'tools/quickstart.sh'), '--subjects', '4', '--epochs', '1']

    def run():
        done = subprocess.run(
            [*command, '--work-dir', 'work'],
            cwd=tmp_path,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=420,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    first = run()
    assert 'phantom: 4/4' in first and 'Where to look' in first
    work = tmp_path / 'work'
    assert json.loads((work / 'test/metrics.json').read_text())['mean']['local_rmse_mm'] > 0
    assert list((work / 'report').glob('*.png'))
    assert list(work.glob('inferred/*/result.json'))
    made = (work / 'source/s0000/ct.nii.gz').stat().st_mtime_ns
    second = run()
    assert '4 unchanged since an earlier run' in second
    assert (work / 'source/s0000/ct.nii.gz').stat().st_mtime_ns == made


@pytest.mark.slow
@pytest.mark.parametrize('name', [*sorted(p.stem for p in (ROOT / 'tools').glob('*.py')), 'massm'])
def test_every_tool_has_help(name):
    program = [str(Path(sys.executable).parent / 'massm')]
    if name != 'massm':
        program = [sys.executable, str(ROOT / f'tools/{name}.py')]
    done = subprocess.run([*program, '--help'], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and 'usage' in done.stdout


def test_training_and_particle_inference_do_without_open3d(tiny_dataset):
    code = (
        'import sys; sys.modules["open3d"] = None\n'
        'import massm.apis.train, massm.inference.inferencer, massm.datasets\n'
        'from pathlib import Path\n'
        'from massm.models.template_bank import TemplateBank\n'
        f'TemplateBank(1, 64, 8.0).read(Path({str(tiny_dataset)!r}), ["spleen"])'
    )
    subprocess.run([sys.executable, '-c', code], check=True, timeout=120)


def test_files_the_readme_names_exist():
    text = (ROOT / 'README.md').read_text()
    for name in re.findall(r'`?(?:bash|python)? ?((?:tools|configs|docs)/[\w./-]+)', text):
        assert (ROOT / name).exists(), name
