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
from massm.phantom.cohort import _clear, _meta

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, 'VIRTUAL_ENV': sys.prefix}
ENVIRONMENT['PATH'] = f'{Path(sys.executable).parent}:{os.environ["PATH"]}'


@pytest.mark.slow
def test_quickstart_runs_from_another_directory_and_again(tmp_path):
    """The README's first command, and its training on a small cohort; the second run does nothing
    twice."""
    command = ['bash', str(ROOT / 'tools/quickstart.sh'), '--train', '--subjects', '4']
    command += ['--epochs', '1', '--spacing', '8', '--particles', '64']
    command += ['custom_hooks.FilterFitHook.samples=4', 'model.local_head.region.cells=8']

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
    made = ['source/s0000/ct.nii.gz', 'dataset/images/s0000.nii', 'epoch_1.pth']
    made += ['dataset/shapes/spleen/template.particles', 'dataset/shapes/spleen/quality.png']
    made += ['patient/headneck_ct/result.json', 'patient/headneck_ct/report.html']
    made += ['test/metrics.json', 'report/report.html', 'inferred/ct/result.json']
    before = [(work / name).stat().st_mtime_ns for name in made]
    patient = json.loads((work / 'patient/headneck_ct/result.json').read_text())
    statuses = {name: told['status'] for name, told in patient['anatomies'].items()}
    assert len(statuses) == 5 and set(statuses.values()) == {'ok'}
    second = run()
    assert '4 unchanged since an earlier run' in second and 'Where to look' in second
    assert [(work / name).stat().st_mtime_ns for name in made] == before


# Stands for python in quickstart.sh: writes down its words, leaves a checkpoint as training does.
QUICKSTART_STAND_IN = r"""#!/usr/bin/env bash
[[ $* == *sys.prefix* ]] && echo "$PREFIX/record" && exit
echo "$*" >>"$PREFIX/calls"
[[ $* != *tools/train.py* ]] || touch "$PREFIX/work/best_mm.pth"
"""


@pytest.mark.parametrize('spacing, makes', [('4', False), ('4.0', False), ('8', True)])
def test_quickstart_makes_another_phantom_at_another_spacing(spacing, makes, tmp_path):
    (tmp_path / 'python').write_text(QUICKSTART_STAND_IN)
    (tmp_path / 'python').chmod(0o755)
    _clear(tmp_path / 'work/source', 4, 0, 4.0)
    (tmp_path / 'work/source/meta.csv').write_text(_meta(4))
    environment = {**os.environ, 'VIRTUAL_ENV': str(tmp_path), 'PREFIX': str(tmp_path)}
    environment |= {'PATH': f'{tmp_path}:{os.environ["PATH"]}', 'PYTHON': sys.executable}
    command = ['bash', str(ROOT / 'tools/quickstart.sh'), '--work-dir', 'work', '--train']
    command += ['--subjects', '4', '--spacing', spacing]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    calls = (tmp_path / 'calls').read_text()
    assert ('tools/make_phantom.py' in calls) == makes and 'tools/export_model.py' in calls


# Stands for python in tools/environment.sh: writes down what it is asked to install, and fails
# where a pattern says so.
PYTHON_STAND_IN = r"""#!/usr/bin/env bash
[[ $* == *sys.prefix* ]] && echo "$PREFIX/record" && exit
call="ops=${MASSM_COMPILED_OPS-1} $*"
[[ $call == *install* ]] && echo "$call" >>"$PREFIX/calls"
! [[ -n $FAILS && "$call" =~ $FAILS ]]
"""


@pytest.fixture
def make_environment(tmp_path):
    """``make_environment(extras, fails)``: what is installed, and what is said."""
    (tmp_path / 'python').write_text(PYTHON_STAND_IN)
    (tmp_path / 'python').chmod(0o755)
    path = f'{tmp_path}:{os.environ["PATH"]}'
    environment = {
        **os.environ,
        'PATH': path,
        'VIRTUAL_ENV': str(tmp_path),
        'PREFIX': str(tmp_path),
    }
    environment.pop('MASSM_COMPILED_OPS', None)

    def make(extras, fails=''):
        (tmp_path / 'calls').write_text('')
        script = f'. {ROOT}/tools/environment.sh; make_environment "{extras}"'
        done = subprocess.run(
            ['bash', '-euo', 'pipefail', '-c', script],
            env={**environment, 'FAILS': fails, 'PYTHON': sys.executable},
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done, (tmp_path / 'calls').read_text().splitlines()

    return make


def test_packages_come_by_uv(make_environment):
    done, (torch, everything, ours) = make_environment('[tests]')
    assert done.returncode == 0 and 'note' not in done.stdout
    assert '-m pip install' in torch and torch.endswith('torch uv')
    assert '-m uv pip install' in everything and everything.endswith('-e .[tests]')
    assert '-m uv pip install' in ours and ours.endswith('--no-build-isolation --no-deps -e .')


@pytest.mark.parametrize('fails', ['pip install .* uv$|uv --version', 'uv pip install .*tests'])
def test_packages_come_by_pip_where_uv_is_not_or_cannot(make_environment, fails):
    done, calls = make_environment('[tests]', fails)
    assert done.returncode == 0 and 'now pip does' in done.stdout
    *_, everything, ours = calls
    assert any(call.endswith(('torch', 'torch uv')) for call in calls[:2])
    assert '-m pip install' in everything and everything.endswith('-e .[tests]')
    assert '-m pip install' in ours and ours.endswith('--no-build-isolation --no-deps -e .')


def test_operators_that_cannot_be_built_are_told_and_done_without(make_environment):
    done, calls = make_environment('', 'ops=1 .*--no-build-isolation')
    assert done.returncode == 0 and 'going on without them' in done.stdout
    assert calls[-1].startswith('ops=0') and '--no-build-isolation' in calls[-1]


def test_what_is_installed_is_not_installed_again(make_environment):
    """Nor for a command that needs less."""
    assert len(make_environment('')[1]) == 3 and make_environment('')[1] == []
    assert len(make_environment('[tests]')[1]) == 3
    assert make_environment('[tests]')[1] == make_environment('')[1] == []
    assert len(make_environment('', '-c import massm')[1]) == 3


@pytest.mark.parametrize('fails', ['install .*torch', 'install .*-e', 'install .*--no-deps'])
def test_a_failed_installation_is_one_sentence_and_tried_again(make_environment, fails):
    done, _ = make_environment('', fails)
    assert done.returncode == 1 and done.stderr.startswith('error: ')
    assert len(make_environment('')[1]) == 3


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


def test_the_container_is_given_files_that_exist():
    lines = re.findall(r'^COPY (?!--)(.+) \S+$', (ROOT / 'Dockerfile').read_text(), re.M)
    named = ' '.join(lines).split()
    assert 'massm' in named and all((ROOT / name).exists() for name in named)
    for name in re.findall(r"ROOT / '([\w.]+)'", (ROOT / 'setup.py').read_text()):
        assert name in named, f'setup.py reads {name}'


@pytest.mark.parametrize(
    ('variables', 'is_one'),
    [
        ({}, False),
        ({'VIRTUAL_ENV': '/v'}, True),
        ({'CONDA_PREFIX': '/c', 'CONDA_DEFAULT_ENV': 'shapes'}, True),
        ({'CONDA_PREFIX': '/c', 'CONDA_DEFAULT_ENV': 'base'}, False),
    ],
)
def test_the_base_of_conda_is_no_environment(variables, is_one):
    names = ('VIRTUAL_ENV', 'CONDA_PREFIX', 'CONDA_DEFAULT_ENV')
    clean = {k: v for k, v in os.environ.items() if k not in names}
    done = subprocess.run(
        ['bash', '-euo', 'pipefail', '-c', f'. {ROOT}/tools/environment.sh; has_environment'],
        env={**clean, **variables},
        check=False,
    )
    assert (done.returncode == 0) == is_one


@pytest.mark.parametrize(
    ('code', 'made', 'goes_on'),
    [(0, False, True), (1, True, True), (1, False, False), (130, True, False)],
)
def test_only_what_was_left_out_is_gone_on_without(tmp_path, code, made, goes_on):
    """The steps of projects/headneck/train.sh, whose files an earlier run may have made."""
    text = (ROOT / 'projects/headneck/train.sh').read_text()
    function = text[text.index('or_made() {') : text.index('step() {')]
    if made:
        (tmp_path / 'made').touch()
    script = f'{function}\nor_made {tmp_path}/made bash -c "exit {code}"\necho next'
    done = subprocess.run(
        ['bash', '-euo', 'pipefail', '-c', script], capture_output=True, text=True, check=False
    )
    assert ('next' in done.stdout) == goes_on and (done.returncode == 0) == goes_on
