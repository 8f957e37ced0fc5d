"""Arguments that train, test and infer share, in MM* convention."""

import argparse
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from massm.errors import ConfigError

# Stands for a space within a name while mmengine, which drops spaces, takes a value apart.
SPACE = '\x1f'


class _ReadOptions(argparse.Action):
    """``KEY=VALUE`` words as mmengine reads them: numbers, booleans, lists ``a,b`` and ``[a,b]``.

    Raises:
        ConfigError: a word is none.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        from mmengine.config import DictAction

        from massm.apis.config_options import ConfigOptions

        options = ConfigOptions(getattr(namespace, self.dest, None) or {})
        options.text = dict(getattr(getattr(namespace, self.dest, None), 'text', {}))
        for word in values or ():
            key, separator, value = str(word).partition('=')
            if not separator or not all(key.split('.')):
                raise ConfigError(
                    f'{option_string}: {word!r} is not KEY=VALUE; write {word}=... without spaces '
                    'around the ='
                )
            try:
                if any(value.count(a) != value.count(b) for a, b in ('[]', '()')):
                    raise ValueError
                options[key] = _parsed(value, DictAction._parse_iterable)
            except (AssertionError, ValueError, IndexError) as error:
                raise ConfigError(f'{option_string}: {word!r} has unpaired brackets') from error
            options.text[key] = value
        setattr(namespace, self.dest, options)


def _parsed(value: str, parse: Callable[[str], Any]) -> Any:
    """What ``parse`` makes of ``value``, but with the spaces within names, which it drops."""
    compact = re.sub(r'\s*([\[\](),])\s*', r'\1', value.strip())
    found = parse(compact.replace(' ', SPACE))
    return value.strip('\'"') if isinstance(found, str) else _with_spaces(found)


def _with_spaces(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_with_spaces(item) for item in value)
    return value.replace(SPACE, ' ') if isinstance(value, str) else value


def check_jobs(jobs: int) -> int:
    """A number of processes or threads: -1 for one a core.

    Raises:
        ConfigError: 0, or less than -1.
    """
    if jobs == 0 or jobs < -1:
        raise ConfigError(f'--jobs must be 1 or more, or -1 for all cores; got {jobs}')
    return jobs


def check_spacing(spacing: float) -> float:
    """A working spacing, mm.

    Raises:
        ConfigError: it is none that scans are looked at with.
    """
    if not 0.2 <= spacing <= 20:
        raise ConfigError(f'--spacing is in mm, 0.2 to 20; got {spacing:g}')
    return spacing


def check_device(device: str | None) -> None:
    """Whether torch knows and has the device.

    Raises:
        ConfigError: it does not.
    """
    import torch

    if device is None:
        return
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        there = [f'cuda:{i}' for i in range(torch.cuda.device_count())]
        raise ConfigError(
            f'--device {device}: cannot be used; here are {", ".join(["cpu", *there])} (massm '
            'doctor says more)'
        ) from error


def add_config(parser: argparse.ArgumentParser) -> None:
    """``CONFIG`` and ``--cfg-options``."""
    parser.add_argument('config', type=Path, help='config file, e.g. configs/massm_r18_phantom.py')
    add_config_options(parser)


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """``--cfg-options``."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=_ReadOptions,
        metavar='KEY=VALUE',
        help='override settings, e.g. data_root=data/mine train_cfg.max_epochs=10',
    )


def add_trust(parser: argparse.ArgumentParser) -> None:
    """``--trust-checkpoint``."""
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='load a checkpoint that holds more than weights; it can run code, so only your own',
    )


def add_launcher(parser: argparse.ArgumentParser) -> None:
    """``--launcher`` and torchrun's ``--local-rank``."""
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def tell_local_rank(args: argparse.Namespace) -> None:
    """Into the environment, where mmengine reads it; ``torchrun`` has done so, MPI calls it
    otherwise."""
    of_mpi = os.environ.get('OMPI_COMM_WORLD_LOCAL_RANK')
    os.environ.setdefault('LOCAL_RANK', of_mpi or str(args.local_rank))
