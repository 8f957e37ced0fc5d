"""Find the anatomies of CTs: particles, meshes, masks in each CT's own geometry.

Examples:
  massm infer ct.nii.gz --out out/
  massm infer --model models/thorax ct.nii.gz --out out/
  massm infer --model models/thorax scans/ dicom_folder/ --out out/ --report
  massm infer --model work_dirs/run/best.pth --config CONFIG ct.nii.gz --out out/

Inputs: NIfTI, NRRD, MetaImage, a folder or zip of one DICOM series, or a folder of images. Each
gets a folder in OUT with `result.json`; `summary.csv` is about all results in OUT, those of earlier
runs too, and `project.swproj` about those whose particles mean the same points as this model's.
Nothing but an earlier result of the same image is ever replaced: patients whose files are called
alike need one call for all, or an OUT each, and series of one folder an OUT each.
An image that cannot be used is told and left out (an earlier result of it stays); the exit code is
then 1.
"""

import argparse
import json
import os
import sys
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from massm.commands.options import add_config_options, add_trust, check_device, check_jobs
from massm.commands.progress import track
from massm.errors import ConfigError, MassmError
from massm.inference.earlier_results import (
    COHORT_FILES,
    check_out,
    check_replaceable,
    has_result_of,
)
from massm.inference.model_search import find_model
from massm.inference.result_formats import DEFAULT_FORMATS, FORMATS
from massm.io.dicom_seg import check_segmentable

if TYPE_CHECKING:
    from massm.inference.inferencer import MASSMInferencer
    from massm.inference.results import InferenceResult

# What to do after Ctrl-C.
INTERRUPTED = 'run again with the images that are left'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument('inputs', nargs='+', type=Path, help='CTs: files, DICOM folders, zips')
    parser.add_argument(
        '--model',
        type=Path,
        help='model directory or the name of one (`massm models` lists them; the only one is '
        'taken without), or a checkpoint with --config',
    )
    parser.add_argument('--config', type=Path, help='config of a checkpoint (it is run as code)')
    parser.add_argument('--out', type=Path, required=True, help='folder to write')
    parser.add_argument('--anatomies', nargs='+', help='only these')
    parser.add_argument('--formats', nargs='+', choices=FORMATS, default=DEFAULT_FORMATS)
    parser.add_argument('--report', action='store_true', help='an HTML page for each image')
    parser.add_argument(
        '--passes', type=int, default=1, help='mean of 1 to 8 shifted passes: slower, steadier'
    )
    parser.add_argument('--jobs', type=int, default=1, help='results written at a time (default 1)')
    parser.add_argument('--json', action='store_true', help='say where the results are, as JSON')
    parser.add_argument('--device', help='cpu, cuda, ... (default: what there is)')
    parser.add_argument('--series', help='DICOM series (the end of its UID), if there are several')
    parser.add_argument(
        '--score-threshold', type=float, help="lowest score of an anatomy (default: the model's)"
    )
    add_config_options(parser)
    add_trust(parser)


def run(args: argparse.Namespace) -> int:
    """Infers every image; 1 if one could not be used."""
    from massm.io.writable import make_writable

    _check(args)
    inferencer = _inferencer(args)
    images = inferencer.list_images(list(args.inputs))
    names = unique_names(images)
    make_writable(args.out)
    check_out(args.out)
    done, faults = _infer(inferencer, images, names, args)
    if args.json:
        folders = {name: str(args.out / name / 'result.json') for name in done}
        print(json.dumps({'images': len(images), 'results': folders}, indent=1))
    elif done:
        told = f'{len(done)} of {len(images)} images in {args.out}; summary.csv there has a row for'
        print(f'{told} each anatomy of every result')
    return int(faults > 0)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of an image: its ``result`` once that is on disk, and what went wrong, with a
    result of its report alone."""

    name: str
    image: Path
    result: 'InferenceResult | None' = None
    error: Exception | None = None


def _infer(
    inferencer: 'MASSMInferencer', images: list, names: list[str], args: argparse.Namespace
) -> tuple[list[str], int]:
    """Writes and tells every result, and the cohort's files, also when it is interrupted; the names
    of those that are done, and how many errors there were."""
    from massm.inference.cohort_files import write_cohort_files

    done, faults = [], 0
    outcomes = finished(inferencer, images, names, args)
    if len(images) > 1:
        outcomes = track(outcomes, len(images), 'images', stderr=args.json)
    try:
        for outcome in outcomes:
            faults += outcome.error is not None
            _tell_error(outcome, args)
            if outcome.result is None:
                continue
            done.append(outcome.name)
            if not args.json:
                number = names.index(outcome.name) + 1
                _show(outcome.result, f'{outcome.name} ({number} of {len(images)})')
    finally:
        for left_out in write_cohort_files(args.out, inferencer.identity.correspondences):
            print(left_out, file=sys.stderr)
    return done, faults


def _tell_error(outcome: Outcome, args: argparse.Namespace) -> None:
    """What went wrong, and that an earlier result of the image is still there and listed."""
    if outcome.error is None:
        return
    print(f'error: {outcome.error}', file=sys.stderr)
    folder = args.out / outcome.name
    if outcome.result is None and has_result_of(folder, outcome.image, args.series):
        print(f'{folder}: the result of an earlier run stays', file=sys.stderr)


def _check(args: argparse.Namespace) -> None:
    check_jobs(args.jobs)
    check_device(args.device)
    if args.score_threshold is not None and not 0 <= args.score_threshold <= 1:
        raise ConfigError(f'--score-threshold is 0 to 1, got {args.score_threshold:g}')


def finished(
    inferencer: 'MASSMInferencer', images: list, names: list[str], args: argparse.Namespace
) -> Iterator[Outcome]:
    """Each image's result once it is on disk, or why there is none. ``--jobs`` results are written
    while the network goes on; no more are kept."""
    waiting: deque[tuple[str, Path, Future]] = deque()
    jobs = (os.cpu_count() or 1) if args.jobs < 0 else args.jobs
    with ThreadPoolExecutor(jobs) as pool:
        for image, name in zip(images, names, strict=True):
            try:
                check_replaceable(args.out / name, image, args.series)
                if 'dicomseg' in args.formats:
                    check_segmentable(Path(image))
                result = inferencer(image)[0]
            except Exception as error:  # one image never stops the others; what it was is told
                yield Outcome(name, image, error=_told(image, error, args))
                continue
            waiting.append((name, image, pool.submit(_write, args, name, result)))
            if len(waiting) > jobs:
                yield _outcome(*waiting.popleft(), args)
        while waiting:
            yield _outcome(*waiting.popleft(), args)


def _write(
    args: argparse.Namespace, name: str, result: 'InferenceResult'
) -> tuple['InferenceResult', Exception | None]:
    """The result as it is on disk, and why it has no report. Nothing can be wrong with a result
    whose page cannot be drawn."""
    from massm.inference.result_files import write_result

    result = write_result(args.out / name, result, args.formats)
    error = _report(args.out / name / 'report.html', name, result) if args.report else None
    return replace(result, volume=None), error


def _report(path: Path, name: str, result: 'InferenceResult') -> Exception | None:
    from massm.visualization.report import write_report

    try:
        write_report(path, name, result)
    except Exception as error:  # it is told beside the result
        return error
    return None


def _outcome(name: str, image: Path, written: Future, args: argparse.Namespace) -> Outcome:
    try:
        result, error = written.result()
    except Exception as error:
        return Outcome(name, image, error=_told(name, error, args))
    told = error and _told(args.out / name / 'report.html', error, args)
    return Outcome(name, image, result, told)


def _told(image: object, error: Exception, args: argparse.Namespace) -> Exception:
    """The error as one sentence that names the image; raised as it is with ``--debug``."""
    if args.debug:
        raise error
    if isinstance(error, MassmError | OSError):
        return error
    reason = ' '.join(f'{type(error).__name__}: {error}'.split())
    return MassmError(f'{image}: {reason}; --debug shows where')


def _inferencer(args: argparse.Namespace) -> 'MASSMInferencer':
    from massm.apis.config import load_config
    from massm.inference.inferencer import MASSMInferencer

    if args.config is not None:
        if args.model is None or not args.model.is_file():
            raise ConfigError(f'--config belongs to a checkpoint; {args.model} is no such file')
        model, weights = load_config(args.config, args.cfg_options), str(args.model)
    elif args.model is not None and args.model.is_file():
        raise ConfigError(
            f'{args.model}: not a model directory; export one (tools/export_model.py), or give a '
            "checkpoint's config with --config"
        )
    else:
        model, weights = find_model(args.model), None
        if args.model is None:
            told = f'model: {model.name}, the only one known by name ({model})'
            print(f'{told}; --model takes another', file=sys.stderr)
    return MASSMInferencer(
        model,
        weights,
        args.device,
        args.score_threshold,
        args.trust_checkpoint,
        args.anatomies,
        args.series,
        args.passes,
    )


def unique_names(images: list[Path]) -> list[str]:
    """A folder name for each image: its file's, with its folder's where two would be alike, and its
    ending or a number where that does not help.

    Raises:
        ConfigError: an image is named twice.
    """
    twice = [str(p) for p, n in Counter(Path(i).resolve() for i in images).items() if n > 1]
    if twice:
        raise ConfigError(f'{twice[0]}: named twice; give each image once')
    labels = _labels([_absolute(image) for image in images])
    for depth in range(1, 20):
        names = ['_'.join(parts[-depth:]) for parts in labels]
        if len({name.casefold() for name in names}) == len(names):
            break
    return _numbered(names)


def _absolute(image: Path) -> Path:
    """Without ``..``, and links as they are called: what they lead to may have no name at all."""
    return Path(os.path.abspath(image))  # noqa: PTH100  resolve() follows links


def _labels(images: list[Path]) -> list[list[str]]:
    """The parts of each absolute path, the last without what makes it a file unless that alone
    tells it from another beside it."""
    from massm.io.images import scan_name

    plain = [(*image.parts[1:-1], scan_name(image)) for image in images]
    counts = Counter(plain)
    return [
        [*parts[:-1], image.name if counts[parts] > 1 else parts[-1]]
        for image, parts in zip(images, plain, strict=True)
    ]


def _numbered(names: list[str]) -> list[str]:
    """``names`` with a number at those that are taken already, also where case does not count."""
    taken = set(COHORT_FILES)
    distinct = []
    for name in names:
        free, number = name, 2
        while free.casefold() in taken:
            free, number = f'{name}_{number}', number + 1
        taken.add(free.casefold())
        distinct.append(free)
    return distinct


def _show(result: 'InferenceResult', title: str) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        'anatomy', 'status', 'score', 'volume ml', 'Mahalanobis', 'remark', title=escape(title)
    )
    for shape in result.shapes:
        volume = f'{shape.measures["volume_ml"]:.1f}' if shape.is_present else ''
        distance = ''
        if shape.is_present and shape.mahalanobis is not None:
            distance = f'{shape.mahalanobis:.1f} (usual {shape.usual_mahalanobis:.1f})'
        row = (escape(shape.anatomy), shape.status.value, f'{shape.score:.2f}', volume, distance)
        table.add_row(*row, escape(shape.reason) if shape.is_present else '')
    Console(width=None if sys.stdout.isatty() else 140).print(table)
    for warning in result.warnings:
        print(f'warning: {warning}')
