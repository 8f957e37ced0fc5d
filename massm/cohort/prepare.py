"""From a TotalSegmentator-like source folder to a MASSM dataset."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed

from massm.cohort.field_of_view import is_cut, outside_scan
from massm.cohort.manifest import (
    SPLITS,
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

CODE_VERSION = 3


@dataclass(frozen=True)
class PrepareOptions:
    """What to prepare: anatomies in order and the working spacing, mm."""

    anatomies: tuple[str, ...]
    spacing: float


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


def find_subjects(source: Path) -> list[Path]:
    """The subject folders of ``source``, sorted by name.

    Raises:
        DatasetError: there is none.
    """
    if not source.is_dir():
        raise DatasetError(f'{source}: no such folder; give the folder that holds the subjects')
    folders = sorted(
        p for p in source.iterdir() if (p / 'ct.nii.gz').exists() or (p / 'segmentations').is_dir()
    )
    if not folders:
        raise DatasetError(
            f'{source}: no subject found; expected SUBJECT/ct.nii.gz and '
            'SUBJECT/segmentations/ANATOMY.nii.gz'
        )
    return folders


def check_anatomies(folders: list[Path], anatomies: tuple[str, ...]) -> None:
    """Refuses a name that no subject has a mask of, naming those that exist.

    Raises:
        DatasetError: see above.
    """
    known = {
        p.name.removesuffix('.nii.gz')
        for f in folders
        for p in (f / 'segmentations').glob('*.nii.gz')
    }
    unknown = [name for name in anatomies if name not in known]
    if unknown:
        raise DatasetError(
            f'{folders[0].parent}: no subject has a mask of {", ".join(unknown)}; there are '
            f'{", ".join(sorted(known)[:20])}{" ..." if len(known) > 20 else ""}'
        )


def read_splits(source: Path, ids: list[str], seed: int) -> dict[str, str]:
    """The split of each id: from ``meta.csv`` where there is one, else a seeded shuffle into
    70 % train, 15 % val, 15 % test.

    Raises:
        DatasetError: ``meta.csv`` lacks a column, a subject, or names another split.
    """
    meta = source / 'meta.csv'
    if not meta.is_file():
        order = np.random.default_rng(seed).permutation(len(ids))
        held = round(0.15 * len(ids))
        names = ['test'] * held + ['val'] * held + ['train'] * (len(ids) - 2 * held)
        return {ids[i]: split for i, split in zip(order, names, strict=True)}
    text = meta.read_text(encoding='utf-8-sig')
    rows = list(
        csv.DictReader(text.splitlines(), delimiter=';' if ';' in text.splitlines()[0] else ',')
    )
    if not rows or not {'image_id', 'split'} <= set(rows[0]):
        raise DatasetError(f'{meta}: needs the columns image_id and split')
    splits = {row['image_id']: row['split'] for row in rows}
    for subject in ids:
        if splits.get(subject) not in SPLITS:
            raise DatasetError(
                f'{meta}: subject {subject} has split {splits.get(subject)!r}; use one of '
                f'{", ".join(SPLITS)}'
            )
    return splits


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
    manifest = Manifest(out, options.spacing, options.anatomies, tuple(entries))
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
        anatomies[name], remark = _prepare_anatomy(mask_path, name, scan, out)
        remarks += remark
    return SubjectEntry(folder.name, split, image, anatomies), remarks


def _prepare_anatomy(
    path: Path, name: str, scan: Scan, out: Path
) -> tuple[AnatomyEntry, list[str]]:
    subject, grid, working = scan.subject, scan.grid, scan.working
    if not path.exists():
        return AnatomyEntry(AnatomyStatus.ABSENT), []
    mask, mask_grid = read_mask(path)
    if not mask_grid.is_close(grid, tolerance_mm=0.25 * float(grid.spacing.min())):
        raise ImageError(
            f'{path}: the mask is {mask.shape} with origin {mask_grid.affine[:3, 3].round(2)} but '
            f'the CT is {grid.shape} with origin {grid.affine[:3, 3].round(2)}; resample the mask '
            'onto the CT'
        )
    if not mask.any():
        return AnatomyEntry(AnatomyStatus.EMPTY), []
    kept, dropped = largest_component(mask)
    remarks = (
        [f'{subject}/{name}: {dropped} voxels off the largest part left out'] if dropped else []
    )
    mask_file = f'masks/{name}/{subject}.nii.gz'
    small = resample_mask(kept, grid, working)
    if not small.any():
        remarks.append(f'{subject}/{name}: vanishes at {working.spacing[0]:g} mm, taken as empty')
        return AnatomyEntry(AnatomyStatus.EMPTY), remarks
    write_volume(out / mask_file, small.astype(np.uint8), working)
    if touches_edge(kept) or is_cut(small, scan.outside):
        return AnatomyEntry(AnatomyStatus.TRUNCATED, mask=mask_file), remarks
    mesh_file = f'shapes/{name}/meshes/{subject}.ply'
    write_mesh(out / mesh_file, mesh_from_mask(kept, grid))
    return AnatomyEntry(AnatomyStatus.OK, mask=mask_file, mesh=mesh_file), remarks


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
