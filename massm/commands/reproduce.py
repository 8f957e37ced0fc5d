"""Compare methods on one cohort, as the paper does: each gets the same patients and the same
minutes of training.

Example: python tools/reproduce.py data/mine --budget 20 --seeds 3

Writes reproduction/: index.html, results.json, Figures 2 and 3 with their tables, heat maps,
training curves. Run again to go on: what is done is not done again. docs/reproduction.md says what
is compared.
"""

import argparse
import math
from pathlib import Path

from massm.commands.options import add_config_options
from massm.errors import ConfigError

INTERRUPTED = 'run again to go on'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument('dataset', type=Path, help='folder with dataset.json and correspondences')
    parser.add_argument('--methods', nargs='+', metavar='METHOD', help='default: the paper’s')
    parser.add_argument('--anatomies', nargs='+', help='of the dataset (default: all)')
    parser.add_argument('--seeds', type=int, default=3, help='runs of each method (default 3)')
    parser.add_argument(
        '--budget',
        type=float,
        default=20.0,
        metavar='MINUTES',
        help='of training, all anatomies of a method together (default 20)',
    )
    parser.add_argument(
        '--select',
        type=int,
        metavar='N',
        help='so many validation patients choose checkpoints, the others make the tables (default: '
        'all of them and the test split; 13 where there is none)',
    )
    parser.add_argument('--out', type=Path, default=Path('reproduction'), help='folder to write')
    add_config_options(parser)


def run(args: argparse.Namespace) -> int:
    """Trains, tests and compares; 1 when a method failed.

    Raises:
        ConfigError, DatasetError: nothing can be compared.
    """
    from massm.apis.config_options import ConfigOptions
    from massm.comparison.cohort import read_compared
    from massm.comparison.job import jobs_of
    from massm.comparison.methods import DEFAULT, chosen, repository
    from massm.comparison.report import write_report
    from massm.comparison.runs import (
        check_networks,
        done_before,
        finished_beside,
        keep_settings,
        run_jobs,
    )

    _check(args)
    methods = chosen(args.methods or list(DEFAULT))
    repository()
    cohort = read_compared(args.dataset, args.anatomies, args.select)
    options = args.cfg_options or ConfigOptions()
    settings = {
        'budget_minutes': args.budget,
        'cfg_options': dict(options),
        'cohort': cohort.to_json(),
    }
    out = args.out.resolve()
    keep_settings(out, settings)
    jobs = jobs_of(methods, args.seeds, cohort, 60 * args.budget, out, options)
    check_networks(jobs)
    beside = finished_beside(jobs, out)
    # What is done stays in the report, whatever this call names and wherever it ends.
    outcomes = {job.folder: (job, outcome) for job, outcome in done_before([*jobs, *beside])}
    for job, outcome in run_jobs(jobs):
        outcomes[job.folder] = (job, outcome)
        print(f'{job.label}: {_told(outcome)}', flush=True)
        # After each, so that what there is can be looked at.
        write_report(out, settings, list(outcomes.values()))
    print(f'{out / "index.html"}, results.json and figures beside it')
    return int(any(outcomes[job.folder][1]['status'] == 'failed' for job in jobs))


def _told(outcome: dict) -> str:
    if outcome['status'] == 'failed':
        return f'failed: {outcome["sentence"]}'
    return f'{outcome["training_s"]:.0f} s, {outcome["steps"]} steps, tested'


def _check(args: argparse.Namespace) -> None:
    if not (math.isfinite(args.budget) and args.budget > 0):
        raise ConfigError(f'--budget must be minutes above 0, got {args.budget:g}')
    if args.seeds < 1:
        raise ConfigError(f'--seeds must be 1 or more, got {args.seeds}')
