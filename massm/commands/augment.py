"""Generate patients with new shapes, drawn from a dataset's shape models, as DeepSSM trains on.

Example: massm augment data/mine --out data/mine_augmented --count 500

A training patient's image, masks, surfaces and particles are bent to the shapes drawn. OUT holds
the dataset and the generated patients, all for training; validation and test stay as they are.
"""

import argparse
import math
from pathlib import Path

from massm.commands.progress import track
from massm.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument('dataset', type=Path, help='folder with dataset.json and correspondences')
    parser.add_argument('--out', type=Path, required=True, help='folder of the new dataset')
    parser.add_argument('--count', type=int, required=True, help='patients to generate')
    parser.add_argument(
        '--kind',
        choices=['kde', 'gaussian'],
        default='kde',
        help='shapes about those of a patient, or any of the model (default kde)',
    )
    parser.add_argument(
        '--spread',
        type=float,
        help='of kde, in standard deviations (default: what parts a shape from its neighbour)',
    )
    parser.add_argument('--anatomies', nargs='+', help='that take new shapes (default: all)')
    parser.add_argument('--seed', type=int, default=0)


def run(args: argparse.Namespace) -> None:
    """Writes the dataset.

    Raises:
        ConfigError: a number makes no sense.
        DatasetError: nothing can be generated.
    """
    if args.count < 1 or args.seed < 0:
        raise ConfigError(
            f'--count must be 1 or more and --seed 0 or more; got {args.count}, {args.seed}'
        )
    if args.spread is not None and not (math.isfinite(args.spread) and args.spread > 0):
        raise ConfigError(f'--spread must be above 0, got {args.spread:g}')
    from massm.apis.augment import AugmentSettings, augment

    settings = AugmentSettings(args.count, args.kind, args.spread, args.seed)
    made = augment(args.dataset, args.out, settings, args.anatomies)
    for _ in track(made, args.count, 'augment'):
        pass
    print(f'{args.count} generated patients beside those of {args.dataset} in {args.out}')
