"""Turn scans and label masks into a MASSM dataset.

Examples:
  python tools/prepare_dataset.py data/phantom_source data/phantom \\
      --anatomies spleen heart_atrium_left --spacing 4
  python tools/prepare_dataset.py Dataset007_Pancreas data/pancreas --anatomies pancreas
  python tools/prepare_dataset.py SOURCE data/brains --anatomies thalamus --labels labels.json \\
      --modality mr --spacing 1.5

Layouts: TotalSegmentator's folders of masks, a label map a subject with a table of its values,
nnU-Net's raw datasets, DICOM series with an RTSTRUCT; picked by what SOURCE holds (docs/labels.md).
Run again to do only what is missing or changed; subjects that are gone from the source go from the
dataset too. Without meta.csv a subject's split follows from its name, whoever else is there.
"""

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from massm.commands.options import check_jobs, check_spacing
from massm.commands.progress import track
from massm.errors import ConfigError

if TYPE_CHECKING:
    from massm.cohort.prepare import PrepareOptions, SubjectResult

INTERRUPTED = 'run again to go on'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument('source', type=Path, help='folder of the subjects')
    parser.add_argument('out', type=Path, help='dataset folder to write')
    parser.add_argument('--anatomies', nargs='+', required=True, help='mask names, in order')
    parser.add_argument('--spacing', type=float, default=3.0, help='working spacing, mm')
    parser.add_argument(
        '--missing',
        choices=('unlabelled', 'absent'),
        default='unlabelled',
        help='what a missing mask says: nobody looked (default), or it is not there',
    )
    parser.add_argument(
        '--layout',
        choices=('totalseg', 'multilabel', 'nnunet', 'rtstruct'),
        help='of the source (default: what it looks like)',
    )
    parser.add_argument(
        '--modality', choices=('ct', 'mr'), help='of the images (default: what the source tells)'
    )
    parser.add_argument(
        '--labels', type=Path, metavar='TABLE', help="what a label map's values mean, JSON"
    )
    parser.add_argument('--channel', help='of an nnU-Net dataset, if there are several')
    parser.add_argument(
        '--open',
        nargs='+',
        default=[],
        metavar='ANATOMY',
        help='anatomies whose contours stop at arbitrary ends: masks, but no shapes',
    )
    parser.add_argument('--jobs', type=int, default=-1, help='processes (default: all cores)')
    parser.add_argument('--seed', type=int, default=0, help='of the split without meta.csv')


def run(args: argparse.Namespace) -> int:
    """Prepares; 1 when a subject had to be left out.

    Raises:
        ConfigError, DatasetError, ImageError: nothing can be prepared.
    """
    from massm.cohort.earlier_dataset import changes, check_apart, load_earlier, remove_gone
    from massm.cohort.output_folder import check_links, check_not_theirs
    from massm.cohort.prepare import prepare_subjects, withdraw_changed, write_manifest
    from massm.cohort.sources.find import check_anatomies, find_source
    from massm.cohort.sources.request import Request
    from massm.cohort.splits import read_splits
    from massm.io.writable import make_writable
    from massm.structures.modality import MODALITIES

    check_jobs(args.jobs)
    check_spacing(args.spacing)
    request = Request(args.modality, args.labels, args.channel, tuple(args.anatomies))
    source = find_source(args.source, request, args.layout)
    options = _options(args, source.modality)
    check_anatomies(source, options.anatomies)
    ids = [subject.id for subject in source.subjects]
    known = {subject.id: subject.split for subject in source.subjects if subject.split}
    splits = read_splits(args.source, ids, args.seed, known)
    check_apart(args.source, args.out)
    check_links(args.out, options.anatomies)
    earlier = load_earlier(args.out, ids)
    check_not_theirs(args.out, ids, options.anatomies, earlier)
    make_writable(args.out)
    withdrawn = withdraw_changed(source.subjects, args.out, options, earlier)
    results = list(
        track(
            prepare_subjects(source.subjects, args.out, options, splits, args.jobs),
            len(source.subjects),
            'prepare',
        )
    )
    results.sort(key=lambda result: result.id)
    try:
        manifest = write_manifest(args.out, options, results, withdrawn)
    finally:  # where none could be prepared, the reasons
        _report(results, options)
    print(f'{MODALITIES[source.modality].title} in the layout {source.layout}')
    for name in remove_gone(args.out, earlier, ids):
        print(f'removed: {name}: not in {args.source} any more')
    for remark in changes(manifest, earlier):
        print(remark)
    return int(any(result.failure for result in results))


def _options(args: argparse.Namespace, modality: str) -> 'PrepareOptions':
    from massm.cohort.prepare import PrepareOptions
    from massm.structures import AnatomyStatus

    anatomies = tuple(dict.fromkeys(args.anatomies))
    unknown = [name for name in args.open if name not in anatomies]
    if unknown:
        raise ConfigError(f'--open: {", ".join(unknown)} not among --anatomies; name it there too')
    missing = AnatomyStatus(args.missing)
    ends = tuple(dict.fromkeys(args.open))
    return PrepareOptions(anatomies, args.spacing, missing, ends, modality)


def _report(results: list['SubjectResult'], options: 'PrepareOptions') -> None:
    from rich.table import Table

    from massm.io.console import show_table
    from massm.structures import MASK_STATUSES

    for remark in (remark for result in results for remark in result.remarks):
        print(remark)
    table = Table('anatomy', *(status.value for status in MASK_STATUSES), title='status')
    for name in options.anatomies:
        counts = Counter(r.entry.anatomies[name].status for r in results if r.entry is not None)
        table.add_row(name, *(str(counts[status]) for status in MASK_STATUSES))
    show_table(table)
    done = sum(result.was_done for result in results)
    splits = Counter(result.entry.split for result in results if result.entry is not None)
    print(
        f'{sum(splits.values())} subjects prepared ({done} unchanged since an earlier run): '
        + ', '.join(f'{count} {split}' for split, count in sorted(splits.items()))
    )
    for result in results:
        if result.failure:
            print(f'left out: {result.id}: {result.failure}')
