"""Make a synthetic thorax cohort in the TotalSegmentator layout.

Example: python tools/make_phantom.py data/phantom_source --subjects 48 --seed 0
"""

import argparse
from pathlib import Path

from massm.commands.options import check_jobs
from massm.commands.progress import track
from massm.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument('out', type=Path, help='folder to write')
    parser.add_argument('--subjects', type=int, default=48)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--spacing', type=float, default=4.0, help='mm (default 4)')
    parser.add_argument('--jobs', type=int, default=-1, help='processes (default: all cores)')


def run(args: argparse.Namespace) -> None:
    """Writes the cohort.

    Raises:
        ConfigError: a number makes no sense, or the folder holds something else.
    """
    from massm.phantom.cohort import make_cohort

    check_jobs(args.jobs)
    if args.seed < 0:
        raise ConfigError(f'--seed must be 0 or more, got {args.seed}')
    if args.subjects < 3 or not 1 <= args.spacing <= 10:
        raise ConfigError(
            f'need at least 3 subjects and a spacing of 1 to 10 mm, got {args.subjects} and '
            f'{args.spacing:g}'
        )
    if args.out.is_dir() and any(args.out.iterdir()) and not (args.out / 'canonical').is_dir():
        # Subjects are called s0001 and so on, as those of TotalSegmentator are.
        raise ConfigError(
            f'{args.out}: is there and no phantom cohort; choose another folder, so that no '
            'subject of yours is replaced'
        )
    cohort = make_cohort(args.out, args.subjects, args.seed, args.spacing, args.jobs)
    for _ in track(cohort, args.subjects, 'phantom'):
        pass
    print(f'{args.subjects} subjects with masks and true correspondences in {args.out}')
