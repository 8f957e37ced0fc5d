"""Every command shown in the documentation is one the program understands."""

import argparse
import importlib
import re
import shlex
from pathlib import Path

import pytest

from massm.cli import COMMANDS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').rglob('*.md'))]


def shown_commands():
    for page in PAGES:
        for block in re.findall(r'```bash\n(.*?)```', page.read_text(encoding='utf-8'), re.S):
            for line in block.replace('\\\n', ' ').splitlines():
                words = shlex.split(line, comments=True)
                if words[:1] == ['python'] and words[1].startswith('tools/'):
                    yield pytest.param(words[1:], id=f'{page.name}: {line[:60]}')
                elif words[:1] == ['massm']:
                    yield pytest.param(words, id=f'{page.name}: {line[:60]}')


@pytest.mark.parametrize('words', list(shown_commands()))
def test_shown_commands_parse(words):
    name = words[1] if words[0] == 'massm' else words[0]
    arguments = words[1:] if words[0] != 'massm' else words[2:]
    if words[0] == 'massm':
        module = COMMANDS[name]
    else:
        assert (ROOT / name).is_file()
        module = Path(name).stem
    command = importlib.import_module(f'massm.commands.{module}')
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    parsed = parser.parse_args(arguments)
    config = getattr(parsed, 'config', None)
    assert config is None or config.suffix != '.py' or (ROOT / config).is_file()


@pytest.mark.parametrize('page', PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r'\]\(([^)#]+)', page.read_text(encoding='utf-8')):
        if not target.startswith('http'):
            assert (page.parent / target).exists(), target
