"""From the subjects of a source folder to a MASSM dataset."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed

from massm.cohort.correspondences import is_imported, without_shapes
from massm.cohort.earlier_dataset import (
    mark_unfinished,
    record_file,
    with_correspondences,
    with_imported,
)
from massm.cohort.field_of_view import (
    ends_with_scan,
    imaged_extent,
    is_cut,
    juts_out,
    outside_scan,
    outside_volume,
)
from massm.cohort.manifest import (
    AnatomyEntry,
    Manifest,
    SubjectEntry,
    subject_from_json,
    subject_to_json,
)
from massm.cohort.manifest_update import update_manifest
from massm.cohort.resample import resample_mask
from massm.cohort.source_masks import LOST_SHARE, check_distinct, check_inside
from massm.cohort.sources.subject import SourceMask, SourceSubject, subject_files
from massm.cohort.workers import telling_killed
from massm.cohort.working_volume import check_memory, stored, working_volume
from massm.errors import DatasetError, MassmError
from massm.io.images import read_scan
from massm.io.meshes import write_mesh
from massm.io.nifti import write_volume
from massm.io.records import fingerprint, read_record, write_record
from massm.shape.reconstruction import largest_component, mesh_from_mask, touches_edge
from massm.structures import AnatomyStatus, Grid
from massm.structures.modality import DEFAULT_MODALITY

CODE_VERSION = 7


@dataclass(frozen=True)
class PrepareOptions:
    """What to prepare: anatomies in order, the working spacing, mm, and the images' modality.

    ``missing`` is what a missing mask says: ``UNLABELLED`` or ``ABSENT``. ``open`` names
    anatomies whose contours stop at arbitrary ends: they have masks, but no shapes.
    """

    anatomies: tuple[str, ...]
    spacing: float
    missing: AnatomyStatus = AnatomyStatus.UNLABELLED
    open: tuple[str, ...] = ()
    modality: str = DEFAULT_MODALITY


@dataclass(frozen=True)
class SubjectResult:
    """What came of one subject: its entry, or the reason it was left out; remarks; whether it was
    done already."""

    id: str
    entry: SubjectEntry | None
    remarks: tuple[str, ...] = ()
    failure: str | None = None
    was_done: bool = False


@dataclass(frozen=True, eq=False)
class Scan:
    """One subject's geometry: its file's grid, the working grid, and where the scan ends: what lies
    ``outside`` (:func:`massm.cohort.field_of_view.outside_scan`) and, of an MR, the planes that
    were ``imaged`` (:func:`massm.cohort.field_of_view.imaged_extent`)."""

    subject: str
    grid: Grid
    working: Grid
    outside: np.ndarray
    imaged: tuple[np.ndarray, np.ndarray] | None = None

    def cuts(self, mask: np.ndarray, small: np.ndarray) -> bool:
        """Whether the scan ends where an anatomy does, given on both grids."""
        if touches_edge(mask) or is_cut(small, self.outside):
            return True
        return self.imaged is not None and ends_with_scan(mask, *self.imaged)


def prepare_subjects(
    subjects: Sequence[SourceSubject],
    out: Path,
    options: PrepareOptions,
    splits: dict[str, str],
    jobs: int,
) -> Iterator[SubjectResult]:
    """Prepares the subjects in parallel, yielding each result as it comes.

    Raises:
        DatasetError: a process was killed.
    """
    tasks = (
        delayed(prepare_subject)(subject, out, options, splits[subject.id]) for subject in subjects
    )
    with telling_killed(jobs):
        yield from Parallel(n_jobs=jobs, return_as='generator_unordered')(tasks)


def withdraw_changed(
    subjects: Sequence[SourceSubject], out: Path, options: PrepareOptions, earlier: Manifest | None
) -> Manifest | None:
    """Has correspondences of the ``earlier`` dataset whose surfaces may now be replaced count as
    not built, so that an interruption leaves no particles of earlier surfaces.

    Returns:
        The earlier dataset with the templates of those alone that hold after all if no surface
        changes. Where a shape was left out none do: it may be one that can be used now.
    """
    if earlier is None or not earlier.templates:
        return None
    known = {subject.id: subject for subject in earlier.subjects}
    stale: set[str] = set()
    tried_again: set[str] = set()
    for subject in subjects:
        if subject.id in known and not _is_done(subject, out, options):
            stale.update(_replaceable(known[subject.id], subject))
            tried_again.update(_left_out(known[subject.id], earlier))
    if stale | tried_again:
        update_manifest(out, lambda manifest: without_shapes(manifest, stale | tried_again))
    held = {a: file for a, file in earlier.templates.items() if a in stale - tried_again}
    return replace(earlier, templates=held)


def _is_done(subject: SourceSubject, out: Path, options: PrepareOptions) -> bool:
    source = _source_fingerprint(subject, options)
    return _earlier_result(record_file(out, subject.id), source, out) is not None


def _replaceable(earlier: SubjectEntry, subject: SourceSubject) -> list[str]:
    """The anatomies with particles that may get another surface: all but those that were imported
    and of which the source has no masks."""
    masks = subject.masks.names()
    return [
        name
        for name, entry in earlier.anatomies.items()
        if entry.has_particles and (name in masks or not entry.is_shape_alone)
    ]


def _left_out(subject: SubjectEntry, manifest: Manifest) -> list[str]:
    """The anatomies whose correspondences were built without this subject's whole shape."""
    return [
        name
        for name, entry in subject.anatomies.items()
        if entry.status.is_whole
        and not entry.has_particles
        and name in manifest.templates
        and not is_imported(manifest, name)
    ]


def write_manifest(
    out: Path,
    options: PrepareOptions,
    results: list[SubjectResult],
    withdrawn: Manifest | None = None,
) -> Manifest:
    """Writes ``dataset.json`` from the subjects that could be used, with the shapes that were
    imported into the dataset that is there, and those of its correspondences, and of those
    ``withdrawn`` (:func:`withdraw_changed`), that still hold.

    Raises:
        DatasetError: none could.
    """
    entries = sorted((r.entry for r in results if r.entry is not None), key=lambda e: e.id)
    if not entries:
        raise DatasetError(f'{out}: no subject could be prepared; the reasons are listed above')
    manifest = Manifest(
        out,
        options.spacing,
        options.anatomies,
        tuple(entries),
        open=options.open,
        modality=options.modality,
    )

    def change(earlier: Manifest) -> Manifest:
        imported = with_imported(manifest, earlier, [result.id for result in results])
        held = with_correspondences(imported, earlier)
        return held if withdrawn is None else with_correspondences(held, withdrawn)

    return update_manifest(out, change, otherwise=manifest)


def prepare_subject(
    subject: SourceSubject, out: Path, options: PrepareOptions, split: str
) -> SubjectResult:
    """Prepares one subject, or takes what an earlier run left when its source is unchanged."""
    record = record_file(out, subject.id)
    source = _source_fingerprint(subject, options)
    done = _earlier_result(record, source, out)
    if done is not None:
        entry = replace(done.entry, split=split) if done.entry else None
        return replace(done, entry=entry, was_done=True)
    try:
        mark_unfinished(out, subject.id)
        entry, remarks = _prepare(subject, out, options, split)
    except Exception as error:  # one subject never stops the others; what it was is told
        known = isinstance(error, MassmError | OSError)
        reason = str(error) if known else f'{subject.image}: {type(error).__name__}: {error}'
        return SubjectResult(subject.id, None, failure=' '.join(reason.split()))
    write_record(record, source, {'entry': subject_to_json(entry), 'remarks': remarks})
    return SubjectResult(subject.id, entry, tuple(remarks))


def _prepare(
    subject: SourceSubject, out: Path, options: PrepareOptions, split: str
) -> tuple[SubjectEntry, list[str]]:
    source = read_scan(subject.image, subject.series, options.modality)
    check_memory(subject.id, source.grid.working(options.spacing))
    values, working = working_volume(source.volume, source.grid, options.spacing, options.modality)
    values = stored(values, options.modality)
    image = f'images/{subject.id}.nii'
    write_volume(out / image, values, working)
    if options.modality == 'mr':
        ends = outside_volume(working.shape), imaged_extent(source.volume)
    else:
        ends = outside_scan(values, options.spacing), None
    scan = Scan(subject.id, source.grid, working, *ends)
    remarks = [f'{subject.id}: {warning}' for warning in source.warnings]
    anatomies: dict[str, AnatomyEntry] = {}
    masks: dict[str, str] = {}
    for found in subject.masks.read(options.anatomies, source.grid):
        remarks += [f'{subject.id}: {remark}' for remark in found.remarks]
        anatomies[found.anatomy], more = _prepare_anatomy(found, scan, out, options, masks)
        remarks += more
    return SubjectEntry(subject.id, split, image, anatomies), remarks


def _prepare_anatomy(
    found: SourceMask, scan: Scan, out: Path, options: PrepareOptions, masks: dict[str, str]
) -> tuple[AnatomyEntry, list[str]]:
    mask, name, subject = found.mask, found.anatomy, scan.subject
    if mask is None:
        return AnatomyEntry(AnatomyStatus.UNLABELLED if found.partly else options.missing), []
    check_inside(mask, found.where)
    if not mask.any():
        return AnatomyEntry(AnatomyStatus.EMPTY), []
    # Both kidneys are alike in a patient who has one: a mistake are the same values twice.
    identity = found.where if found.of_map else fingerprint(np.packbits(mask).tobytes())
    check_distinct(masks, name, identity, found.where)
    kept, dropped = largest_component(mask)
    in_parts = dropped > LOST_SHARE * np.count_nonzero(mask)
    remarks = _off_the_largest(f'{subject}/{name}', mask, dropped, in_parts)
    small, left = _on_working_grid(mask if in_parts else kept, scan)
    if not small.any():
        remarks.append(
            f'{subject}/{name}: vanishes at {scan.working.spacing[0]:g} mm or lies outside the '
            'body, taken as unlabelled'
        )
        return AnatomyEntry(AnatomyStatus.UNLABELLED), remarks
    mask_file = f'masks/{name}/{subject}.nii.gz'
    write_volume(out / mask_file, small.astype(np.uint8), scan.working)
    truncated = AnatomyEntry(AnatomyStatus.TRUNCATED, mask=mask_file)
    if in_parts or found.partly or name in options.open or scan.cuts(kept, small):
        return truncated, remarks
    mesh = mesh_from_mask(kept, scan.grid)
    if left or juts_out(mesh.vertices, scan.working):
        remarks.append(f'{subject}/{name}: contoured beyond the imaged body, taken as truncated')
        return truncated, remarks
    mesh_file = f'shapes/{name}/meshes/{subject}.ply'
    write_mesh(out / mesh_file, mesh)
    return AnatomyEntry(AnatomyStatus.OK, mask=mask_file, mesh=mesh_file), remarks


def _on_working_grid(mask: np.ndarray, scan: Scan) -> tuple[np.ndarray, int]:
    """The mask on the working grid, which ends where the body does, and how many voxels of it lie
    in the next layer around: cut off."""
    around = scan.working.cropped(np.full(3, -1), np.array(scan.working.shape) + 1)
    wide = resample_mask(mask, scan.grid, around)
    small = wide[1:-1, 1:-1, 1:-1]
    return small, int(wide.sum()) - int(small.sum())


def _off_the_largest(name: str, mask: np.ndarray, dropped: int, in_parts: bool) -> list[str]:
    if not dropped:
        return []
    share = 100 * dropped / np.count_nonzero(mask)
    if in_parts:
        return [
            f'{name}: {share:.0f} % of the mask ({dropped} voxels) lie off its largest part, taken '
            'as truncated: no shape; give the anatomy alone and whole'
        ]
    return [f'{name}: {dropped} voxels off the largest part left out ({share:.2g} %)']


def _source_fingerprint(subject: SourceSubject, options: PrepareOptions) -> str:
    """Changes when a source file, what it means, an option or this code's output does."""
    files = subject_files(subject, options.anatomies)
    stats = [(f.name, f.stat() if f.exists() else None) for f in files]
    # Size and time, not content: images are too large to read only to see them unchanged. Not the
    # time of the entry itself (ctime): of a source that is copied or moved every file has another.
    seen = [(name, s and (s.st_size, s.st_mtime_ns)) for name, s in stats]
    # What nobody looked at was once called absent where missing masks are.
    unseen = options.missing is AnatomyStatus.ABSENT and not subject.masks.was_looked_at()
    more = ['nobody looked'] if unseen else []
    return fingerprint(CODE_VERSION, options, subject.masks, subject.series, *seen, *more)


def _earlier_result(record: Path, source: str, out: Path) -> SubjectResult | None:
    content = read_record(record, source)
    if content is None:
        return None
    try:
        entry = subject_from_json(content['entry'])
    except (KeyError, TypeError, ValueError):
        return None
    files = [entry.image] + [f for a in entry.anatomies.values() for f in (a.mask, a.mesh) if f]
    if not all((out / file).is_file() for file in files):
        return None
    return SubjectResult(entry.id, entry, tuple(content['remarks']))
