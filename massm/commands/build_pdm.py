"""Build correspondences and shape models: of every anatomy of a MASSM dataset, or of a folder of
surfaces (PLY, STL, OBJ, VTK).

Examples:
  python tools/build_pdm.py data/phantom --particles 512
  python tools/build_pdm.py --meshes data/spleens --out models/spleen --particles 1024
  python tools/build_pdm.py --meshes data/new --out models/new --fixed models/spleen

Run again to do only what is missing or changed. docs/correspondences.md explains the choices.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from massm.commands.options import check_jobs
from massm.errors import ConfigError, ShapeError
from massm.io.console import show_table
from massm.shape.population_settings import PopulationSettings

if TYPE_CHECKING:
    from massm.cohort.manifest import Manifest
    from massm.cohort.shape_folder import RegisteredShape
    from massm.cohort.surface_cohort import ShapeSource
    from massm.shape.correspondence_model import CorrespondenceModel
    from massm.shape.population import TaskRunner

PARTICLES = 1024
INTERRUPTED = 'run again to go on'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument('dataset', type=Path, nargs='?', help='folder with dataset.json')
    parser.add_argument('--meshes', type=Path, help='instead of a dataset: folder of surfaces, mm')
    parser.add_argument('--out', type=Path, help='with --meshes: folder for the results')
    parser.add_argument('--fixed', type=Path, help='with --meshes: model folder to add shapes to')
    parser.add_argument(
        '--same-axes', action='store_true', help='with --meshes: they lie alike, do not turn them'
    )
    parser.add_argument('--particles', type=int, help=f'per anatomy (default: {PARTICLES})')
    parser.add_argument(
        '--anatomies', nargs='+', help='of the dataset (default: all but imported ones)'
    )
    parser.add_argument(
        '--correspondence-weight',
        type=float,
        help='more: even spacing, compact model; less: nearer to the surface; 0: registration '
        f'alone (default: {PopulationSettings.weight})',
    )
    parser.add_argument(
        '--landmarks', type=Path, help='folder of ID.particles (dataset: ANATOMY/ID.particles)'
    )
    parser.add_argument('--jobs', type=int, default=-1, help='processes (default: all cores)')
    parser.add_argument('--dask', metavar='ADDRESS', help='dask.distributed scheduler to use')


def run(args: argparse.Namespace) -> int:
    """Builds; 1 when a subject or an anatomy had to be left out.

    Raises:
        ConfigError, DatasetError, ShapeError: nothing can be built.
    """
    from massm.commands.tasks import task_runner

    _check(args)
    table = Table(
        'anatomy', 'shapes', 'surface mm', 'worst', 'spacing CV', 'folded %', 'modes 95 %'
    )
    notes: list[str] = []
    with task_runner(args.jobs, args.dask) as tasks:
        if args.meshes is not None:
            _build_folder(args, tasks, table, notes)
        else:
            _build_dataset(args, tasks, table, notes)
    show_table(table, 110)
    print('\n'.join(notes))
    return int(any(note.startswith('left out') for note in notes))


def _check(args: argparse.Namespace) -> None:
    check_jobs(args.jobs)
    if args.particles is not None and args.particles < 16:
        raise ConfigError(f'--particles must be at least 16, got {args.particles}')
    weight = args.correspondence_weight
    if weight is not None and (not np.isfinite(weight) or weight < 0):
        raise ConfigError(f'--correspondence-weight must be 0 or more, got {weight}')
    if (args.dataset is None) == (args.meshes is None):
        raise ConfigError('give either a dataset or --meshes DIR --out DIR')
    if args.meshes is not None and args.out is None:
        raise ConfigError('--meshes needs --out DIR for the results')
    if args.meshes is not None:
        _check_folders(args)
    if args.meshes is None and (args.fixed or args.out or args.same_axes):
        raise ConfigError(
            '--out, --fixed and --same-axes go with --meshes; a dataset adds its validation and '
            'test shapes to a fixed model of itself'
        )
    if args.landmarks is not None and not args.landmarks.is_dir():
        raise ConfigError(f'{args.landmarks}: no such folder of landmarks; check the path')


def _check_folders(args: argparse.Namespace) -> None:
    """Results beside surfaces would be taken for surfaces, or for the fixed model."""
    out, meshes = args.out.resolve(), args.meshes.resolve()
    if args.fixed is not None and args.fixed.resolve() == out:
        raise ConfigError(f'--out {args.out}: is the fixed model itself; choose another folder')
    own = {'.ply'} >= {file.suffix for file in _surfaces(meshes)}
    if meshes == out or (meshes == out / 'meshes' and not own):
        raise ConfigError(
            f'--out {args.out}: results would lie among the surfaces and be taken for some; choose '
            'another folder'
        )
    _check_not_theirs(args.out, meshes)


def _check_not_theirs(out: Path, meshes: Path) -> None:
    """Refuses to write over surfaces, particles and a model in ``out`` that no build left there."""
    from massm.cohort.shape_folder import is_built, results_in
    from massm.cohort.shape_records import surfaces_in_place

    files = [] if is_built(out) else results_in(out)
    if files:
        raise ConfigError(
            f'--out {out}: {files[0]} was written by no build and would be written over; choose '
            'another folder'
        )
    own = out / 'meshes'
    if own.resolve() == meshes:
        return
    theirs = surfaces_in_place(out) if is_built(out) else _surfaces(own)
    if theirs:
        raise ConfigError(
            f'--out {out}: {own} holds surfaces that no build wrote ({theirs[0].name}) and would '
            'be written over; choose another folder'
        )


def _surfaces(folder: Path) -> list[Path]:
    """The surface files of a folder, sorted; not those that a Mac hides."""
    from massm.io.meshes import SUFFIXES

    return sorted(f for f in folder.glob('[!.]*') if f.suffix.lower() in SUFFIXES)


def _settings(args: argparse.Namespace, any_pose: bool) -> PopulationSettings:
    weight = args.correspondence_weight
    return PopulationSettings(
        args.particles or PARTICLES,
        PopulationSettings.weight if weight is None else weight,
        any_pose=any_pose,
    )


def _check_fixed(args: argparse.Namespace, fixed: 'CorrespondenceModel') -> None:
    """Refuses options that a fixed model has settled otherwise."""
    own = {
        '--particles': (args.particles, len(fixed.particles)),
        '--correspondence-weight': (args.correspondence_weight, fixed.weight),
    }
    for option, (asked, settled) in own.items():
        if asked not in (None, settled):
            raise ConfigError(
                f'{option} {asked}: the fixed model {args.fixed} has {settled}; leave it out'
            )
    if args.same_axes and fixed.any_pose:
        raise ConfigError(
            f'--same-axes: the fixed model {args.fixed} is of shapes in any pose, and lays new '
            'ones over itself so; leave it out'
        )
    if args.landmarks is not None and not len(fixed.landmarks):
        raise ConfigError(
            f'--landmarks {args.landmarks}: the fixed model {args.fixed} was built without; leave '
            'it out'
        )


def _build_dataset(
    args: argparse.Namespace, tasks: 'TaskRunner', table: Table, notes: list[str]
) -> None:
    from massm.cohort.correspondences import (
        check_true,
        enter_built,
        shape_sources,
        shapes_folder,
        shapes_seen,
        withdraw_shapes,
    )
    from massm.cohort.manifest import load_manifest
    from massm.cohort.manifest_update import update_manifest
    from massm.cohort.mirror_images import write_mirror_images
    from massm.cohort.shape_folder import register_shapes
    from massm.cohort.surface_cohort import landmark_use

    manifest = load_manifest(args.dataset)
    check_true(manifest)
    anatomies = _anatomies(args, manifest, notes)
    for name in anatomies:
        # Read again, as below: the one before took its time, and others may have written.
        manifest = load_manifest(args.dataset)
        try:
            seen = shapes_seen(manifest, name)
            sources = shape_sources(manifest, name, args.landmarks)
            if args.landmarks is not None and (args.landmarks / name).is_dir():
                notes.append(f'{name}: {landmark_use(args.landmarks / name, sources)}')
            folder, settings = shapes_folder(manifest, name), _settings(args, False)
            begin = partial(withdraw_shapes, args.dataset, name)
            results = register_shapes(folder, sources, settings, tasks, begin=begin)
            _summarise(folder, name, results, table, notes)
            enter = partial(enter_built, anatomy=name, results=results, seen=seen)
            update_manifest(args.dataset, enter)
        except ShapeError as error:
            notes.append(f'left out: {name}: {error}')
            continue
        print(f'{name}: {len(results)} shapes', flush=True)
    write_mirror_images(load_manifest(args.dataset), tasks)


def _anatomies(args: argparse.Namespace, manifest: 'Manifest', notes: list[str]) -> list[str]:
    """Those to build: the ones asked for, or all but those whose particles were imported."""
    from massm.cohort.correspondences import is_imported

    anatomies = manifest.with_shapes(args.anatomies)
    if args.anatomies is None:
        imported = [name for name in anatomies if is_imported(manifest, name)]
        anatomies = [name for name in anatomies if name not in imported]
        notes += [
            f'kept: {name}: its particles were imported; name it with --anatomies to build it anew'
            for name in imported
        ]
    landmarks = args.landmarks
    if landmarks and anatomies and not any((landmarks / name).is_dir() for name in anatomies):
        raise ShapeError(
            f'{landmarks}: has no folder of any anatomy; expected {anatomies[0]}/ID.particles and '
            'so on'
        )
    return anatomies


def _build_folder(
    args: argparse.Namespace, tasks: 'TaskRunner', table: Table, notes: list[str]
) -> None:
    from massm.cohort.shape_folder import load_model, register_shapes
    from massm.cohort.surface_cohort import landmark_use

    sources = _mesh_sources(args.meshes, args.landmarks, train=args.fixed is None)
    if args.landmarks is not None:
        notes.append(landmark_use(args.landmarks, sources))
    fixed = None if args.fixed is None else load_model(args.fixed)
    if fixed is not None:
        _check_fixed(args, fixed)
    settings = _settings(args, not args.same_axes)
    results = register_shapes(args.out, sources, settings, tasks, fixed)
    pdm = None if args.fixed is None else args.fixed / 'pdm.npz'
    _summarise(args.out, args.meshes.resolve().name, results, table, notes, pdm)


def _mesh_sources(folder: Path, landmarks: Path | None, train: bool) -> list['ShapeSource']:
    from massm.cohort.surface_cohort import ShapeSource, landmark_file
    from massm.io.meshes import SUFFIXES

    if not folder.is_dir():
        raise ShapeError(f'{folder}: no such folder; give the folder that holds the surfaces')
    files = _surfaces(folder)
    if not files:
        raise ShapeError(f'{folder}: no surface found; expected {", ".join(SUFFIXES)} files')
    by_name: dict[str, Path] = {}
    for file in files:
        if file.stem in by_name:
            raise ShapeError(
                f'{folder}: {by_name[file.stem].name} and {file.name} are both {file.stem}; '
                'rename or remove one'
            )
        by_name[file.stem] = file
    return [
        ShapeSource(name, file, train, landmark_file(landmarks, name))
        for name, file in by_name.items()
    ]


def _summarise(
    folder: Path,
    anatomy: str,
    results: list['RegisteredShape'],
    table: Table,
    notes: list[str],
    fixed_pdm: Path | None = None,
) -> None:
    from massm.cohort.gone_shapes import remove_gone, shapes_of
    from massm.cohort.shape_summary import write_summary
    from massm.visualization.shape_quality import QUALITY_PICTURE, draw_quality

    known, earlier = _content(folder / 'stats.json'), shapes_of(folder)
    stats = write_summary(folder, anatomy, results, fixed_pdm)
    notes += [
        f'removed: {anatomy}/{name}: of an earlier run and no longer a shape of this model'
        for name in remove_gone(folder, earlier, results)
    ]
    # The picture shows what the statistics sum up: it is drawn again when they change.
    if known != _content(folder / 'stats.json') or not (folder / QUALITY_PICTURE).is_file():
        draw_quality(folder, stats)
    table.add_row(anatomy, *_row(stats))
    for name, quality in stats['quality'].items():
        notes += [f'mended: {anatomy}/{name}: {text}' for text in quality['mended']]
        notes += [f'look at: {anatomy}/{name} {text}' for text in quality['warnings']]
    notes += [f'left out: {anatomy}/{name}: {text}' for name, text in stats['left_out'].items()]


def _content(path: Path) -> str | None:
    return path.read_text(encoding='utf-8') if path.is_file() else None


def _row(stats: dict[str, Any]) -> list[str]:
    quality = list(stats['quality'].values())
    if not quality:
        return ['0'] + 5 * ['-']
    distances = [q['surface_distance_mm'] for q in quality]
    enough = int(np.searchsorted(stats['compactness'], 0.95)) + 1
    return [
        str(len(quality)),
        f'{np.mean(distances):.3f}',
        f'{np.max(distances):.3f}',
        f'{np.mean([q["spacing_cv"] for q in quality]):.3f}',
        f'{100 * np.mean([q["folded"] for q in quality]):.2f}',
        str(enough) if stats['compactness'] else '-',
    ]
