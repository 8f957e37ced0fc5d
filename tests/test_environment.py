"""What the README promises about commands and set-up."""

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from massm.cli import COMMANDS

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, 'VIRTUAL_ENV': sys.prefix}
ENVIRONMENT['PATH'] = f'{Path(sys.executable).parent}:{os.environ["PATH"]}'


@pytest.mark.slow
def test_quickstart_runs_from_another_directory_and_again(tmp_path):
    """The README's first command on a small cohort; the second run does nothing twice."""
    command = ['bash', str(ROOT / 'tools/quickstart.sh'), '--subjects', '4', '--epochs', '1']
    command += ['--spacing', '8', '--particles', '64']

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


@pytest.mark.parametrize('name', sorted(p.stem for p in (ROOT / 'tools').glob('*.py')))
def test_every_tool_has_help(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', [f'{name}.py', '--help'])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / f'tools/{name}.py'), run_name='__main__')
    assert ended.value.code == 0 and 'usage' in capsys.readouterr().out


def test_the_console_script_has_help():
    program = Path(sys.executable).parent / 'massm'
    done = subprocess.run([program, '--help'], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and 'usage' in done.stdout


LARGE = ('torch', 'scipy', 'matplotlib', 'trimesh', 'open3d')


@pytest.mark.parametrize('module', [m for m in COMMANDS.values() if m != 'doctor'])
def test_help_waits_for_no_large_package(module):
    """Help within half a second: what a command computes with is imported once it runs."""
    code = (
        'import sys; from massm.cli import run_command\n'
        f'try: run_command({module!r}, ["--help"])\n'
        f'except SystemExit: print(sorted(set({LARGE}) & set(sys.modules)), file=sys.stderr)'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stderr.strip() == '[]', done.stderr[-500:]


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
