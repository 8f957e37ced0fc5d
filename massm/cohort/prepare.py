"""From a TotalSegmentator-like source folder to a MASSM dataset."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed

from massm.cohort.field_of_view import is_cut, juts_out, outside_scan
from massm.cohort.manifest import (
    AnatomyEntry,
    Manifest,
    SubjectEntry,
    subject_from_json,
    subject_to_json,
)
from massm.cohort.resample import resample_mask
from massm.cohort.working_volume import working_volume
from massm.errors import DatasetError, ImageError, MassmError
from massm.io.meshes import write_mesh
from massm.io.nifti import read_mask, read_volume, write_volume
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


def write_manifest(out: Path, options: PrepareOptions, results: list[SubjectResult]) -> Manifest:
    """Writes ``dataset.json`` from the subjects that could be used.

    Raises:
        DatasetError: none could.
    """
    entries = sorted((r.entry for r in results if r.entry is not None), key=lambda e: e.id)
    if not entries:
        raise DatasetError(f'{out}: no subject could be prepared; the reasons are listed above')
    manifest = Manifest(out, options.spacing, options.anatomies, tuple(entries), open=options.open)
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
    except (MassmError, OSError) as error:
        record.unlink(missing_ok=True)
        return SubjectResult(folder.name, None, failure=str(error))
    write_record(record, source, {'entry': subject_to_json(entry), 'remarks': remarks})
    return SubjectResult(folder.name, entry, tuple(remarks))


def _prepare(
    folder: Path, out: Path, options: PrepareOptions, split: str
) -> tuple[SubjectEntry, list[str]]:
    ct, grid = read_volume(folder / 'ct.nii.gz')
    image = f'images/{folder.name}.nii'
    hu, working = working_volume(ct, grid, options.spacing)
    hu = np.clip(np.round(hu), -1024, 3071).astype(np.int16)
    write_volume(out / image, hu, working)
    scan = Scan(folder.name, grid, working, outside_scan(hu, options.spacing))
    remarks: list[str] = []
    anatomies = {}
    for name in options.anatomies:
        mask_path = folder / 'segmentations' / f'{name}.nii.gz'
        anatomies[name], remark = _prepare_anatomy(mask_path, name, scan, out, options)
        remarks += remark
    return SubjectEntry(folder.name, split, image, anatomies), remarks


def _prepare_anatomy(
    path: Path, name: str, scan: Scan, out: Path, options: PrepareOptions
) -> tuple[AnatomyEntry, list[str]]:
    subject, working = scan.subject, scan.working
    if not path.exists():
        return AnatomyEntry(options.missing), []
    mask = _read_mask(path, scan.grid)
    if not mask.any():
        return AnatomyEntry(AnatomyStatus.EMPTY), []
    kept, dropped = largest_component(mask)
    remarks = (
        [f'{subject}/{name}: {dropped} voxels off the largest part left out'] if dropped else []
    )
    small, left = _on_working_grid(kept, scan)
    if not small.any():
        remarks.append(
            f'{subject}/{name}: vanishes at {working.spacing[0]:g} mm or lies outside the body, '
            'taken as unlabelled'
        )
        return AnatomyEntry(AnatomyStatus.UNLABELLED), remarks
    mask_file = f'masks/{name}/{subject}.nii.gz'
    write_volume(out / mask_file, small.astype(np.uint8), working)
    truncated = AnatomyEntry(AnatomyStatus.TRUNCATED, mask=mask_file)
    if name in options.open or touches_edge(kept) or is_cut(small, scan.outside):
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


def _read_mask(path: Path, grid: Grid) -> np.ndarray:
    """The mask at ``path``, on the CT's grid.

    Raises:
        ImageError: it cannot be read or lies on another grid.
    """
    mask, mask_grid = read_mask(path)
    if not mask_grid.is_close(grid, tolerance_mm=0.25 * float(grid.spacing.min())):
        raise ImageError(
            f'{path}: the mask is {mask.shape} with origin {mask_grid.affine[:3, 3].round(2)} but '
            f'the CT is {grid.shape} with origin {grid.affine[:3, 3].round(2)}; resample the mask '
            'onto the CT'
        )
    return mask


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
