"""Which layout a source folder is in, and its subjects."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from massm.cohort.manifest import GENERATED
from massm.cohort.sources import multilabel, nnunet, rtstruct, totalseg
from massm.cohort.sources.request import Request
from massm.cohort.sources.subject import SourceSubject
from massm.errors import ConfigError, DatasetError
from massm.io.names import check_name
from massm.structures.modality import DEFAULT_MODALITY, MODALITIES


@dataclass(frozen=True)
class Layout:
    """How to tell a layout (``holds``), how to list its ``subjects``, which options beside the
    modality it ``reads``, and what it looks like."""

    holds: Callable[[Path], bool]
    subjects: Callable[[Path, Request], list[SourceSubject]]
    reads: tuple[str, ...]
    looks: str


LAYOUTS = {
    'totalseg': Layout(
        totalseg.holds,
        totalseg.subjects,
        (),
        'SUBJECT/ct.nii.gz and SUBJECT/segmentations/ANATOMY.nii.gz',
    ),
    'multilabel': Layout(
        multilabel.holds,
        multilabel.subjects,
        ('labels',),
        'SUBJECT/ct.nii.gz and SUBJECT/labels.nii.gz with labels.json',
    ),
    'nnunet': Layout(
        nnunet.holds, nnunet.subjects, ('labels', 'channel'), 'imagesTr, labelsTr and dataset.json'
    ),
    'rtstruct': Layout(
        rtstruct.holds, rtstruct.subjects, (), 'SUBJECT/ with DICOM slices and an RTSTRUCT'
    ),
}


@dataclass(frozen=True)
class Source:
    """The ``subjects`` of a source folder, sorted by name, and their ``modality``."""

    root: Path
    layout: str
    subjects: tuple[SourceSubject, ...]
    modality: str


def find_source(root: Path, request: Request, layout: str | None = None) -> Source:
    """Reads what a source folder holds; no image is opened.

    Args:
        layout: a key of :data:`LAYOUTS`, by default what the folder looks like.

    Raises:
        DatasetError: no such folder, no or several layouts, no subject, one of a name that is not
            to be used, or what it tells of its modality does not fit.
        ConfigError: an option that the layout does not read.
    """
    if not root.is_dir():
        raise DatasetError(f'{root}: no such folder; give the folder that holds the subjects')
    name = layout or _told_layout(root)
    for option in ('labels', 'channel'):
        if getattr(request, option) is not None and option not in LAYOUTS[name].reads:
            raise ConfigError(
                f'--{option}: says nothing in a source of layout {name}; leave it out'
            )
    subjects = LAYOUTS[name].subjects(root, request)
    if not subjects:
        raise DatasetError(f'{root}: no subject found; expected {LAYOUTS[name].looks}')
    for subject in subjects:
        check_name(subject.id, str(root), DatasetError)
        if subject.id.startswith(GENERATED):
            raise DatasetError(
                f'{root}: {subject.id} would be taken for a patient that massm augment generated; '
                f'give it a name that does not begin with {GENERATED}'
            )
    _check_distinct(subjects, root)
    return Source(root, name, tuple(subjects), _modality(subjects, request.modality, root))


def check_anatomies(source: Source, anatomies: tuple[str, ...]) -> None:
    """Refuses a name that no subject has a mask of, naming those that exist.

    Raises:
        DatasetError: see above, or a name cannot be a file's.
    """
    known: set[str] = set().union(*(subject.masks.names() for subject in source.subjects))
    unknown = [name for name in anatomies if name not in known]
    if unknown:
        listed = ', '.join(sorted(known)[:20]) + (' ...' if len(known) > 20 else '')
        listed = listed or 'none at all, or only links that lead nowhere'
        raise DatasetError(
            f'{source.root}: no subject has a mask of {", ".join(unknown)}; there are {listed}'
        )
    for name in anatomies:
        check_name(name, f'{source.root}: anatomies', DatasetError)


def _told_layout(root: Path) -> str:
    found = [name for name in LAYOUTS if name != 'rtstruct' and LAYOUTS[name].holds(root)]
    if not found and LAYOUTS['rtstruct'].holds(root):  # last, since it opens files
        return 'rtstruct'
    if len(found) == 1:
        return found[0]
    if found:
        raise DatasetError(f'{root}: could be {" or ".join(found)}; say which with --layout')
    looks = '; '.join(f'{layout.looks} ({name})' for name, layout in LAYOUTS.items())
    raise DatasetError(f'{root}: no subject found; expected one of: {looks}')


def _check_distinct(subjects: list[SourceSubject], root: Path) -> None:
    """Names that differ in case alone are one file on many disks."""
    seen: dict[str, SourceSubject] = {}
    for subject in subjects:
        other = seen.setdefault(subject.id.casefold(), subject)
        if other is not subject:
            raise DatasetError(
                f'{root}: subjects {other.id} and {subject.id} would be one file; rename one'
            )


def _modality(subjects: list[SourceSubject], asked: str | None, root: Path) -> str:
    """The modality asked for, unless the source says that it is MR; else what it tells."""
    # A missing image is told when it is read.
    told = {s.modality for s in subjects if s.image.exists()} or {DEFAULT_MODALITY}
    if asked is not None:
        # A file called ct may be anything; the values will tell a CT from an MR.
        if asked == DEFAULT_MODALITY and 'mr' in told:
            of = next(s for s in subjects if s.modality == 'mr')
            raise DatasetError(
                f'{of.image}: is MR as the source tells, and --modality is {asked}; leave it out, '
                'or keep the CTs alone'
            )
        return asked
    known = told - {None}
    if len(known) > 1:
        raise DatasetError(
            f'{root}: holds subjects of CT and of MR; prepare them apart, naming one with '
            '--modality where subjects have both'
        )
    if None in told and not known:
        raise DatasetError(
            f'{root}: does not tell its modality; say it with --modality {" or ".join(MODALITIES)}'
        )
    return str(known.pop())
