"""Arguments that train, test and infer share, in MM* convention."""

import argparse
from pathlib import Path

from mmengine.config import DictAction


def add_config(parser: argparse.ArgumentParser) -> None:
    """``CONFIG`` and ``--cfg-options``."""
    parser.add_argument('config', type=Path, help='config file, e.g. configs/massm_r18_phantom.py')
    add_config_options(parser)


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """``--cfg-options``."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
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
