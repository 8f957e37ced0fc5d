"""Compactness, generalization and specificity of a ShapeWorks project or a model folder, and the
difference between two groups.

Of the training shapes alone: not of excluded, validation and test ones, nor of a project's subjects
that lack a domain.

Examples:
  python tools/shape_stats.py data/phantom/shapes/spleen --out spleen_statistics.json
  python tools/shape_stats.py left_atrium.swproj --group sex
  python tools/shape_stats.py models/spleen --group diagnosis --csv study.csv
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from massm.errors import ConfigError, ShapeError
from massm.io.atomic import write_text
from massm.io.names import some_of
from massm.io.particles import read_particles
from massm.io.shapeworks import Project, ProjectDomain, ProjectSubject, read_project
from massm.io.tables import read_table
from massm.shape.group_difference import group_difference
from massm.shape.statistics import shape_statistics

PERMUTATIONS = 10_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument('model', type=Path, help='.swproj, .xlsx, or folder with world/*.particles')
    parser.add_argument('--out', type=Path, help='JSON file (default: print)')
    parser.add_argument('--group', help='column with two values: compare the groups they make')
    parser.add_argument('--csv', type=Path, help='table of the column; its first column is the id')
    parser.add_argument(
        '--permutations', type=int, help=f'of the group test (default: {PERMUTATIONS})'
    )


def run(args: argparse.Namespace) -> None:
    """Computes; entry k-1 of each list is for k modes.

    Raises:
        ConfigError: ``--out`` is a file of the model, or an option has no use.
        ShapeError: there are no particles, they do not correspond, two subjects are called alike,
            or the groups are not two.
    """
    _check(args)
    names, world, groups = _read(args.model)
    result: dict[str, Any] = shape_statistics(world)
    if args.group is not None:
        values = _column(args.csv, args.group) if args.csv else groups.get(args.group, {})
        result['group_difference'] = _compare(args, names, world, values)
    text = json.dumps(result, indent=1) + '\n'
    if args.out is None:
        print(text, end='')
    else:
        write_text(args.out, text)


def _check(args: argparse.Namespace) -> None:
    """Refuses to write over what statistics are made of, and options that nothing would read."""
    if args.group is None and (args.csv is not None or args.permutations is not None):
        option = '--permutations' if args.csv is None else '--csv'
        raise ConfigError(f'{option}: belongs to a comparison of groups; name its column, --group')
    out = None if args.out is None else args.out.resolve()
    if out is not None and (out in _sources(args) or _is_of_model(out, args.model.resolve())):
        raise ConfigError(
            f'--out {args.out}: is a file that statistics are made of or belongs to a model; '
            'choose another name'
        )


def _sources(args: argparse.Namespace) -> list[Path]:
    return [path.resolve() for path in (args.model, args.csv) if path is not None]


def _is_of_model(out: Path, model: Path) -> bool:
    """Whether ``out`` is a file that a shape folder keeps, of ``model`` or of another."""
    from massm.cohort.shape_folder import OWN_FILES, OWN_FOLDERS, is_built

    for folder in out.parents:
        if folder == model or is_built(folder) or (folder / 'template.json').is_file():
            own, *rest = out.relative_to(folder).parts
            return own in OWN_FOLDERS if rest else own in OWN_FILES
    return False


def _read(path: Path) -> tuple[list[str], np.ndarray, dict[str, dict[str, str]]]:
    """Names, ``[N, M, 3]`` world particles (the domains of a project one after the other) and the
    group columns, each from name to value."""
    if path.is_dir():
        return _read_folder(path)
    project = read_project(path)
    training = _training(project)
    whole = [s for s in training if all(file is not None for file in _world_files(project, s))]
    _say_left_out('without world particles of every domain', _names_but(training, whole))
    if not whole:
        domains = ', '.join(project.domains) or 'it has none'
        raise ShapeError(
            f'{path}: no subject has world particles of every domain ({domains}); optimise first, '
            'or leave domains out'
        )
    shapes = [
        np.concatenate([read_particles(project.file(str(f))) for f in _world_files(project, s)])
        for s in whole
    ]
    if len({len(shape) for shape in shapes}) > 1:
        raise ShapeError(f'{path}: subjects have different numbers of particles; optimise again')
    return [s.name for s in whole], np.stack(shapes), project.group_columns()


def _training(project: Project) -> list[ProjectSubject]:
    """The subjects that make the model, each with a name of its own; who else there is is told.

    Raises:
        ShapeError: there is none, or two are called alike.
    """
    project.check_names()
    training = [s for s in project.included if project.split_of(s) == 'train']
    _say_left_out('not of the training shapes', _names_but(project.subjects, training))
    if not training:
        raise ShapeError(f'{project.path}: every subject is excluded or held out; include some')
    return training


def _names_but(subjects: Sequence[ProjectSubject], taken: Sequence[ProjectSubject]) -> list[str]:
    return [subject.name for subject in subjects if subject not in taken]


def _world_files(project: Project, subject: ProjectSubject) -> list[str | None]:
    """The world particles of every domain, ``None`` where the subject has none."""
    none = ProjectDomain()
    return [subject.domains.get(domain, none).world for domain in project.domains]


def _read_folder(path: Path) -> tuple[list[str], np.ndarray, dict[str, dict[str, str]]]:
    from massm.cohort.gone_shapes import shapes_of
    from massm.cohort.shape_folder import is_built

    there = sorted(file.stem for file in (path / 'world').glob('[!.]*.particles'))
    known = shapes_of(path)
    if is_built(path) and not known:
        raise ShapeError(
            f'{path}/stats.json: does not say which shapes are of the model; run massm pdm again'
        )
    # Validation and test shapes lie here too, and what earlier runs left; none shapes the model.
    names = [name for name, train in known.items() if train] if known else there
    _say_left_out('not of the training shapes', [name for name in there if name not in names])
    if known and not names:
        raise ShapeError(
            f'{path}: none of its {len(known)} shapes is a training one, they were laid on a fixed '
            "model; give that model's folder"
        )
    if not names:
        raise ShapeError(f'{path}/world: no .particles file; run tools/build_pdm.py first')
    first = read_particles(path / 'world' / f'{names[0]}.particles')
    world = [read_particles(path / 'world' / f'{name}.particles', len(first)) for name in names]
    project = path / 'project.swproj'
    groups = read_project(project).group_columns() if project.is_file() else {}
    return names, np.stack(world), groups


def _say_left_out(why: str, names: list[str]) -> None:
    if names:
        print(f'{why}, left out: {some_of(names)}', file=sys.stderr)


def _column(path: Path, column: str) -> dict[str, str]:
    rows = read_table(path, ShapeError)
    if column not in rows[0]:
        raise ShapeError(f'{path}: has no column {column}; it has {", ".join(rows[0])}')
    first = next(iter(rows[0]))
    values: dict[str, str] = {}
    for row in rows:
        name, value = row[first], row[column]
        if values.setdefault(name, value) != value:
            raise ShapeError(
                f'{path}: {name} has {column} {values[name]} and {value}; keep one row of it'
            )
    return values


def _compare(
    args: argparse.Namespace, names: list[str], world: np.ndarray, values: dict[str, str]
) -> dict[str, Any]:
    kinds = sorted({values[name] for name in names if values.get(name)})
    if len(kinds) != 2:
        raise ShapeError(
            f'{args.csv or args.model}: column {args.group} has the values '
            f'{", ".join(kinds) or "none"} for these subjects; a comparison needs exactly two'
        )
    without = [name for name in names if not values.get(name)]
    _say_left_out(f'without {args.group}', without)
    members = [world[[values.get(name) == kind for name in names]] for kind in kinds]
    permutations = PERMUTATIONS if args.permutations is None else args.permutations
    found = group_difference(members[0], members[1], permutations)
    return {
        'column': args.group,
        'groups': dict(zip(kinds, found.sizes, strict=True)),
        'difference': f'{kinds[1]} minus {kinds[0]}',
        'p_value': found.p_value,
        'distance_mm': found.distance,
        'particles_p_below_0.05': int((found.p_particles < 0.05).sum()),
        'p_particles': found.p_particles.tolist(),
        'difference_mm': found.difference.tolist(),
    }
