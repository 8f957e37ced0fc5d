"""Test a model: metrics table, cases.csv, metrics.json, predicted particles and figures.

Example: python tools/test.py configs/massm_r18_phantom.py --report
Without a checkpoint, the best one of the work dir is taken.
"""

import argparse

from massm.commands.options import add_config, add_launcher, add_trust, tell_local_rank


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    add_config(parser)
    parser.add_argument('checkpoint', nargs='?', help='default: the best of the work dir')
    parser.add_argument('--work-dir', help='where training wrote (default work_dirs/CONFIG)')
    parser.add_argument(
        '--report', action='store_true', help='an HTML page: errors, heat maps, surfaces to turn'
    )
    add_launcher(parser)
    add_trust(parser)


def run(args: argparse.Namespace) -> None:
    """Tests."""
    from massm.apis.config import load_config
    from massm.apis.test import test

    tell_local_rank(args)
    config = load_config(args.config, args.cfg_options)
    test(config, args.checkpoint, args.work_dir, args.launcher, args.trust_checkpoint, args.report)
