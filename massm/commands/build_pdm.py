"""Build correspondences and shape models for every anatomy of a MASSM dataset.

Example: python tools/build_pdm.py data/phantom --particles 512
Run again to do only what is missing or changed.
"""

import argparse
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from massm.commands.progress import track
from massm.datasets.correspondences import (
    RegisteredSubject,
    build_template,
    register_subjects,
    update_manifest,
    whole_subjects,
    write_anatomy,
)
from massm.datasets.manifest import load_manifest
from massm.errors import ConfigError, DatasetError, ShapeError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument('dataset', type=Path, help='folder with dataset.json')
    parser.add_argument('--particles', type=int, default=1024, help='per anatomy')
    parser.add_argument('--anatomies', nargs='+', help='default: all of the dataset')
    parser.add_argument('--jobs', type=int, default=-1, help='processes (default: all cores)')


def run(args: argparse.Namespace) -> int:
    """Builds; 1 when a subject or an anatomy had to be left out.

    Raises:
        ConfigError, DatasetError: nothing can be built.
    """
    if args.particles < 16:
        raise ConfigError(f'--particles must be at least 16, got {args.particles}')
    manifest = load_manifest(args.dataset)
    anatomies = args.anatomies or list(manifest.anatomies)
    unknown = [name for name in anatomies if name not in manifest.anatomies]
    if unknown:
        raise DatasetError(
            f'{args.dataset}/dataset.json: has no {", ".join(unknown)}; it was prepared with '
            f'{", ".join(manifest.anatomies)}'
        )
    results: dict[str, list[RegisteredSubject]] = {}
    failures = []
    table = Table(
        'anatomy', 'template', 'shapes', 'surface mm', 'spacing CV', 'folded %', 'modes 95 %'
    )
    for name in anatomies:
        try:
            template = build_template(manifest, name, args.particles)
        except ShapeError as error:
            failures.append(str(error))
            continue
        count = len(whole_subjects(manifest, name))
        registered = list(
            track(register_subjects(manifest, name, template, args.jobs), count, name)
        )
        failures += [r.failure for r in registered if r.failure]
        stats = write_anatomy(manifest, name, template, registered)
        results[name] = registered
        table.add_row(name, template.subject, str(count), *_summary(registered, stats))
    update_manifest(manifest, results)
    Console().print(table)
    for failure in failures:
        print(f'left out: {failure}')
    return int(bool(failures))


def _summary(registered: list[RegisteredSubject], stats: dict) -> list[str]:
    quality = [r.quality for r in registered if r.quality is not None]
    enough = int(np.searchsorted(stats['compactness'], 0.95)) + 1
    return [
        f'{np.mean([q.surface_distance_mm for q in quality]):.2f}',
        f'{np.mean([q.spacing_cv for q in quality]):.2f}',
        f'{100 * np.mean([q.folded for q in quality]):.2f}',
        str(enough),
    ]
