"""Every command shown in the documentation is one the program understands."""

import argparse
import importlib
import re
import runpy
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from massm.cli import COMMANDS, run_command
from tests.conftest import FITTED

ROOT = Path(__file__).parents[1]
PLACES = ('*.md', 'docs/**/*.md', 'benchmarks/*.md', 'examples/*.md', 'projects/*/*.md')
PAGES = [page for place in PLACES for page in sorted(ROOT.glob(place))]


def shown_lines(text):
    """Those of bash blocks and of indented ones."""
    blocks = re.findall(r'```bash\n(.*?)```', text, re.S)
    rest = re.sub(r'```.*?```', '', text, flags=re.S)
    blocks += re.findall(r'^ {4}(?:python|massm) .*$', rest, re.M)
    for block in blocks:
        yield from block.replace('\\\n', ' ').splitlines()


def shown_commands():
    for page in PAGES:
        for line in shown_lines(page.read_text(encoding='utf-8')):
            words = shlex.split(line, comments=True)
            if words[:1] == ['python'] and words[1].startswith(('tools/', 'projects/')):
                yield pytest.param(words[1:], id=f'{page.name}: {line.strip()[:60]}')
            elif words[:1] == ['massm']:
                yield pytest.param(words, id=f'{page.name}: {line.strip()[:60]}')


def module_of(script):
    """Where the arguments of a script are: in the package, or in itself."""
    path = Path(script)
    inside = path.parts[0] == 'tools'
    return f'massm.commands.{path.stem}' if inside else '.'.join(path.with_suffix('').parts)


@pytest.mark.parametrize('words', list(shown_commands()))
def test_shown_commands_parse(words):
    if words[0] == 'massm':
        module, arguments = f'massm.commands.{COMMANDS[words[1]]}', words[2:]
    else:
        assert (ROOT / words[0]).is_file()
        module, arguments = module_of(words[0]), words[1:]
    command = importlib.import_module(module)
    parser = argparse.ArgumentParser(allow_abbrev=False)
    command.add_arguments(parser)
    parsed = parser.parse_args(arguments)
    config = getattr(parsed, 'config', None)
    assert config is None or config.suffix != '.py' or (ROOT / config).is_file()


def test_the_commands_of_the_first_scan_run(
    model_directory, fitted, tiny_source, tmp_path, monkeypatch
):
    """The page's own commands in the page's order; a training's config and weights are put in."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'models').mkdir()
    (tmp_path / 'models/thorax').symlink_to(model_directory)
    (tmp_path / 'scans').mkdir()
    for i in (1, 2):
        shutil.copy(tiny_source / f's000{i}/ct.nii.gz', tmp_path / f'scans/p{i}.nii.gz')
    shutil.copy(tiny_source / 's0001/ct.nii.gz', tmp_path)
    config, folder = fitted
    config.dump('trained.py')
    trained = ['trained.py', str(folder / FITTED)]
    text = (ROOT / 'docs/first-scan.md').read_text(encoding='utf-8')
    blocks = ''.join(re.findall(r'```bash\n(.*?)```', text, re.S))
    shown = [shlex.split(line) for line in blocks.splitlines()]
    assert len(shown) >= 5
    for words in shown:
        if words[2].startswith('configs/') if len(words) > 2 else False:
            words[2:3] = trained
        assert run_command(COMMANDS[words[1]], words[2:]) == 0, words
    assert (tmp_path / 'out/ct/report.html').is_file()
    assert (tmp_path / 'cohort/p2/markups').is_dir()
    assert (tmp_path / 'mine.onnx').is_file()


@pytest.mark.parametrize('page', PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r'\]\(([^)#]+)', page.read_text(encoding='utf-8')):
        if not target.startswith('http'):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize('script', sorted((ROOT / 'benchmarks').glob('*.py')), ids=lambda p: p.name)
def test_benchmarks_say_what_they_measure(script, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(script.parent)
    monkeypatch.setattr(sys, 'argv', [script.name, '--help'])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name='__main__')
    assert ended.value.code == 0 and 'usage' in capsys.readouterr().out
