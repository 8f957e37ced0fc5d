"""The ``massm`` console script, and the frame around every command line."""

import argparse
import ast
import importlib
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from massm import __version__
from massm.errors import MassmError

COMMANDS = {
    'phantom': 'make_phantom',
    'prepare': 'prepare_dataset',
    'pdm': 'build_pdm',
    'augment': 'augment',
    'train': 'train',
    'test': 'test',
    'infer': 'infer',
    'models': 'models',
    'export': 'export_model',
    'doctor': 'doctor',
    'stats': 'shape_stats',
    'shapeworks': 'shapeworks',
}


def run_command(module: str, argv: Sequence[str] | None = None, program: str | None = None) -> int:
    """Parses ``argv`` for the command in ``massm.commands.MODULE`` and runs it, as
    :func:`run_module` does."""
    command = importlib.import_module(f'massm.commands.{module}')
    return run_module(command, argv, program or f'{module}.py')


def run_module(command: ModuleType, argv: Sequence[str] | None = None, program: str = '') -> int:
    """Parses ``argv`` for a module with ``add_arguments`` and ``run`` and runs it; what its
    ``INTERRUPTED`` says to do is told after Ctrl-C.

    Returns:
        0, or 1 after a mistake of the user's, told in one sentence (``--debug``: the traceback).
    """
    parser = argparse.ArgumentParser(
        prog=program or None,
        description=command.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _tell_in_any_letters()
    command.add_arguments(parser)
    parser.add_argument('--debug', action='store_true', help='show the traceback of an error')
    args = argparse.Namespace(debug=False)
    try:
        args = parser.parse_args(argv, args)
        return int(command.run(args) or 0)
    except KeyboardInterrupt:
        advice = getattr(command, 'INTERRUPTED', 'run again')
        print(f'interrupted; finished files are whole, {advice}', file=sys.stderr)
        return 130
    except (MassmError, OSError) as error:
        if args.debug:
            raise
        print(f'error: {_sentence(error)}', file=sys.stderr)
        return 1


def _tell_in_any_letters() -> None:
    """A name that a terminal's encoding lacks stops no work: it is told in escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not a notebook's
            stream.reconfigure(errors='backslashreplace')


def tool(module: str) -> None:
    """Runs a command and ends the process with its exit code (for ``tools/*.py``)."""
    sys.exit(run_command(module))


def main() -> None:
    """``massm COMMAND ...``."""
    parser = argparse.ArgumentParser(
        prog='massm',
        description='Anatomies, corresponding shapes and their statistics from CT and MR.\n\n'
        + _overview(),
        epilog='massm COMMAND --help says more, with examples.',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('command', choices=COMMANDS, metavar='COMMAND')
    parser.add_argument('--version', action='version', version=f'massm {__version__}')
    args = parser.parse_args(sys.argv[1:2])
    sys.exit(run_command(COMMANDS[args.command], sys.argv[2:], f'massm {args.command}'))


def _overview() -> str:
    """Each command with the first sentence of its help; nothing is imported for it."""
    folder = Path(__file__).parent / 'commands'
    lines = []
    for name, module in COMMANDS.items():
        text = ast.get_docstring(ast.parse((folder / f'{module}.py').read_text(encoding='utf-8')))
        sentence = ' '.join((text or '').split('\n\n')[0].split()).split('. ')[0].split(': ')[0]
        lines.append(f'  {name:<11} {sentence.rstrip(".")}')
    return '\n'.join(lines)


def _sentence(error: Exception) -> str:
    """The error's own words: an exception from a data-loading process carries its traceback, of
    which the last line is what was said."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1].split('Error: ', 1)[-1] if len(lines) > 1 else lines[0]
