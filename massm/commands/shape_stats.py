"""Compactness, generalization and specificity of a shape model folder.

Example: python tools/shape_stats.py data/phantom/shapes/spleen --out stats.json
"""

import argparse
import json
from pathlib import Path

import numpy as np

from massm.errors import ShapeError
from massm.io.atomic import write_text
from massm.io.particles import read_particles
from massm.shape.statistics import shape_statistics


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument('model', type=Path, help='folder with world/*.particles')
    parser.add_argument('--out', type=Path, help='JSON file (default: print)')


def run(args: argparse.Namespace) -> None:
    """Computes; entry k-1 of each list is for k modes.

    Raises:
        ShapeError: there are no particles, or they do not correspond.
    """
    files = sorted((args.model / 'world').glob('*.particles'))
    if not files:
        raise ShapeError(f'{args.model}/world: no .particles file; run tools/build_pdm.py first')
    first = read_particles(files[0])
    world = np.stack([read_particles(file, len(first)) for file in files])
    text = json.dumps(shape_statistics(world), indent=1) + '\n'
    if args.out is None:
        print(text, end='')
    else:
        write_text(args.out, text)
