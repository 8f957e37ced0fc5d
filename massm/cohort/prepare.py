"""From a TotalSegmentator-like source folder to a MASSM dataset."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed

from massm.cohort.earlier_dataset import with_correspondences
from massm.cohort.field_of_view import is_cut, juts_out, outside_scan
from massm.cohort.manifest import (
    AnatomyEntry,
    Manifest,
    SubjectEntry,
    subject_from_json,
    subject_to_json,
)
from massm.cohort.resample import resample_mask
from massm.cohort.source_masks import LOST_SHARE, check_distinct, read_source_mask
from massm.cohort.working_volume import check_memory, working_volume
from massm.errors import DatasetError, MassmError
from massm.io.images import read_scan
from massm.io.meshes import write_mesh
from massm.io.nifti import write_volume
from massm.io.records import fingerprint, read_record, write_record
from massm.shape.reconstruction import largest_component, mesh_from_mask, touches_edge
from massm.structures import AnatomyStatus, Grid

CODE_VERSION = 5


@dataclass(frozen=True)
class PrepareOptions:
    """What to prepare: anatomies in order and the working spacing, mm.

    ``missing`` is what a missing mask file says: ``UNLABELLED`` or ``ABSENT``. ``open`` names
    anatomies whose contours stop at arbitrary ends: they have masks, but no shapes.
    """

    anatomies: tuple[str, ...]
    spacing: float
    missing: AnatomyStatus = AnatomyStatus.UNLABELLED
    open: tuple[str, ...] = ()


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
    """One subject's geometry: its file's grid, the working grid, and what lies outside the scan
    (:func:`massm.cohort.field_of_view.outside_scan`)."""

    subject: str
    grid: Grid
    working: Grid
    outside: np.ndarray


def prepare_subjects(
    folders: list[Path], out: Path, options: PrepareOptions, splits: dict[str, str], jobs: int
) -> Iterator[SubjectResult]:
    """Prepares the subjects in parallel, yielding each result as it comes."""
    tasks = (
        delayed(prepare_subject)(folder, out, options, splits[folder.name]) for folder in folders
    )
    yield from Parallel(n_jobs=jobs, return_as='generator_unordered')(tasks)


def write_manifest(
    out: Path,
    options: PrepareOptions,
    results: list[SubjectResult],
    earlier: Manifest | None = None,
) -> Manifest:
    """Writes ``dataset.json`` from the subjects that could be used, with those correspondences of
    the ``earlier`` dataset that still hold.

    Raises:
        DatasetError: none could.
    """
    entries = sorted((r.entry for r in results if r.entry is not None), key=lambda e: e.id)
    if not entries:
        raise DatasetError(f'{out}: no subject could be prepared; the reasons are listed above')
    manifest = Manifest(out, options.spacing, options.anatomies, tuple(entries), open=options.open)
    manifest = with_correspondences(manifest, earlier)
    manifest.save()
    return manifest


def prepare_subject(folder: Path, out: Path, options: PrepareOptions, split: str) -> SubjectResult:
    """Prepares one subject, or takes what an earlier run left when its source is unchanged."""
    record = out / '.prepare' / f'{folder.name}.json'
    source = _source_fingerprint(folder, options)
    done = _earlier_result(record, source, out)
    if done is not None:
        entry = replace(done.entry, split=split) if done.entry else None
        return replace(done, entry=entry, was_done=True)
    try:
        entry, remarks = _prepare(folder, out, options, split)
    except Exception as error:  # one subject never stops the others; what it was is told
        record.unlink(missing_ok=True)
        known = isinstance(error, MassmError | OSError)
        reason = str(error) if known else f'{folder}: {type(error).__name__}: {error}'
        return SubjectResult(folder.name, None, failure=' '.join(reason.split()))
    write_record(record, source, {'entry': subject_to_json(entry), 'remarks': remarks})
    return SubjectResult(folder.name, entry, tuple(remarks))


def _prepare(
    folder: Path, out: Path, options: PrepareOptions, split: str
) -> tuple[SubjectEntry, list[str]]:
    source = read_scan(folder / 'ct.nii.gz')
    grid = source.grid
    image = f'images/{folder.name}.nii'
    check_memory(folder.name, grid.working(options.spacing))
    hu, working = working_volume(source.volume, grid, options.spacing)
    hu = np.clip(np.round(hu), -1024, 3071).astype(np.int16)
    write_volume(out / image, hu, working)
    scan = Scan(folder.name, grid, working, outside_scan(hu, options.spacing))
    remarks = [f'{folder.name}: {warning}' for warning in source.warnings]
    anatomies: dict[str, AnatomyEntry] = {}
    masks: dict[str, str] = {}
    for name in options.anatomies:
        mask_path = folder / 'segmentations' / f'{name}.nii.gz'
        anatomies[name], remark = _prepare_anatomy(mask_path, name, scan, out, options, masks)
        remarks += remark
    return SubjectEntry(folder.name, split, image, anatomies), remarks


def _prepare_anatomy(
    path: Path,
    name: str,
    scan: Scan,
    out: Path,
    options: PrepareOptions,
    masks: dict[str, str],
) -> tuple[AnatomyEntry, list[str]]:
    subject, working = scan.subject, scan.working
    if not path.exists():
        return AnatomyEntry(options.missing), []
    mask = read_source_mask(path, scan.grid)
    if not mask.any():
        return AnatomyEntry(AnatomyStatus.EMPTY), []
    check_distinct(masks, name, fingerprint(np.packbits(mask).tobytes()), path)
    kept, dropped = largest_component(mask)
    in_parts = dropped > LOST_SHARE * np.count_nonzero(mask)
    remarks = _off_the_largest(f'{subject}/{name}', mask, dropped, in_parts)
    small, left = _on_working_grid(mask if in_parts else kept, scan)
    if not small.any():
        remarks.append(
            f'{subject}/{name}: vanishes at {working.spacing[0]:g} mm or lies outside the body, '
            'taken as unlabelled'
        )
        return AnatomyEntry(AnatomyStatus.UNLABELLED), remarks
    mask_file = f'masks/{name}/{subject}.nii.gz'
    write_volume(out / mask_file, small.astype(np.uint8), working)
    truncated = AnatomyEntry(AnatomyStatus.TRUNCATED, mask=mask_file)
    if in_parts or name in options.open or touches_edge(kept) or is_cut(small, scan.outside):
        return truncated, remarks
    mesh = mesh_from_mask(kept, scan.grid)
    if left or juts_out(mesh.vertices, working):
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


def _source_fingerprint(folder: Path, options: PrepareOptions) -> str:
    """Changes when a source file, an option or this code's output does."""
    files = [folder / 'ct.nii.gz'] + [
        folder / 'segmentations' / f'{name}.nii.gz' for name in options.anatomies
    ]
    stats = [file.stat() if file.exists() else None for file in files]
    # Size and time, not content: images are too large to read only to see them unchanged.
    return fingerprint(CODE_VERSION, options, *[s and (s.st_size, s.st_mtime_ns) for s in stats])


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
