"""Train a model.

Example: python tools/train.py configs/massm_r18_phantom.py --cfg-options data_root=data/phantom
"""

import argparse

from massm.commands.options import add_config, add_launcher, add_trust, tell_local_rank

INTERRUPTED = 'run again with --resume to go on'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    add_config(parser)
    parser.add_argument('--work-dir', help='logs and checkpoints (default work_dirs/CONFIG)')
    parser.add_argument(
        '--resume',
        nargs='?',
        const=True,
        default=False,
        metavar='CHECKPOINT',
        help="go on from CHECKPOINT, or from the work dir's latest",
    )
    parser.add_argument('--amp', action='store_true', help='bfloat16 autocast')
    parser.add_argument(
        '--channels-last', action='store_true', help='memory layout for tensor cores'
    )
    parser.add_argument('--compile', action='store_true', help='torch.compile the network')
    add_launcher(parser)
    add_trust(parser)


def run(args: argparse.Namespace) -> None:
    """Trains."""
    from massm.apis.config import load_config
    from massm.apis.train import train

    tell_local_rank(args)
    config = load_config(args.config, args.cfg_options)
    runner = train(
        config,
        args.work_dir,
        args.resume,
        args.amp,
        args.launcher,
        args.trust_checkpoint,
        args.channels_last,
        args.compile,
    )
    runner.logger.info(f'done; test with: python tools/test.py {args.config}')
