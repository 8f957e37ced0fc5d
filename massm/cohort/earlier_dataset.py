"""A dataset prepared before in the same folder: what still holds of it, and what is gone."""

import json
from dataclasses import replace
from pathlib import Path

from massm.cohort.correspondences import is_imported, shapes_folder
from massm.cohort.manifest import FORMAT, AnatomyEntry, Manifest, SubjectEntry, load_manifest
from massm.cohort.shape_folder import is_built
from massm.cohort.shape_records import is_surface_of
from massm.errors import DatasetError
from massm.io.names import some_of
from massm.io.records import write_record


def load_earlier(out: Path, ids: list[str]) -> Manifest | None:
    """The dataset at ``out``, if there is one.

    Args:
        ids: the subjects of the source.

    Raises:
        DatasetError: it shares no subject with the source, is no dataset of ours, or has generated
            patients, of whom the source knows nothing.
    """
    _check_ours(out)
    try:
        earlier = load_manifest(out)
    except DatasetError:
        return None
    generated = [s.id for s in earlier.subjects if s.is_generated]
    if generated:
        raise DatasetError(
            f'{out}: has patients that massm augment generated ({some_of(generated)}), who would '
            'be lost; prepare the dataset it came from, and augment that again'
        )
    prepared = [s.id for s in earlier.subjects if record_file(out, s.id).is_file()]
    if prepared and not set(prepared) & set(ids):
        raise DatasetError(
            f'{out}: holds a dataset of other subjects ({prepared[0]}, ...); choose another folder '
            'to write, or remove this one'
        )
    return earlier


def check_apart(source: Path, out: Path) -> None:
    """Refuses to write into the source: nnU-Net has a ``dataset.json`` too.

    Raises:
        DatasetError: see above.
    """
    if out.resolve().is_relative_to(source.resolve()):
        raise DatasetError(
            f'{out}: lies in the source {source}; choose a folder beside it, so that nothing of '
            'yours is replaced'
        )


def _check_ours(out: Path) -> None:
    path = out / 'dataset.json'
    if not path.is_file() or (out / '.prepare').is_dir():
        return
    try:
        ours = json.loads(path.read_text(encoding='utf-8'))['metainfo']['format'] == FORMAT
    except (OSError, KeyError, TypeError, ValueError):
        ours = False
    if not ours:
        raise DatasetError(
            f'{path}: is there and no MASSM dataset; choose another folder, so that nothing of '
            'yours is replaced'
        )


def with_correspondences(manifest: Manifest, earlier: Manifest) -> Manifest:
    """The manifest with the particles and templates of those anatomies of which nothing changed
    since they were built: the same whole shapes, in the same splits."""
    for anatomy in manifest.anatomies:
        is_missing = anatomy in earlier.templates and anatomy not in manifest.templates
        if is_missing and _holds(manifest, earlier, anatomy):
            manifest = _carried_over(manifest, earlier, anatomy)
    return manifest


def with_imported(manifest: Manifest, earlier: Manifest, ids: list[str]) -> Manifest:
    """The manifest with the shapes that were imported into the earlier dataset, where the source
    says nothing of them; without their particles yet.

    Args:
        ids: the subjects of the source. Others that were prepared once are gone.
    """
    subjects = {s.id: s for s in manifest.subjects}
    anatomies = list(manifest.anatomies)
    for old in earlier.subjects:
        is_gone = old.id not in ids and record_file(manifest.root, old.id).is_file()
        has_failed = old.id in ids and old.id not in subjects
        if is_gone or has_failed:
            continue
        own = subjects.get(old.id) or replace(old, image=None, anatomies={})
        added = {
            name: replace(entry, local=None, world=None, patient_to_world=None)
            for name, entry in old.anatomies.items()
            if entry.is_shape_alone and _says_nothing(own, name)
        }
        if added:
            subjects[old.id] = replace(own, anatomies={**own.anatomies, **added})
            anatomies += [name for name in added if name not in anatomies]
    entries = sorted(subjects.values(), key=lambda s: s.id)
    return replace(manifest.with_subjects(entries), anatomies=tuple(anatomies))


def _says_nothing(subject: SubjectEntry, anatomy: str) -> bool:
    entry = subject.anatomies.get(anatomy)
    return entry is None or not entry.status.is_labelled


def changes(manifest: Manifest, earlier: Manifest | None) -> list[str]:
    """What a person must know of the difference."""
    if earlier is None:
        return []
    before, remarks = {s.id: s.split for s in earlier.subjects}, []
    moved = [
        f'{s.id} ({before[s.id]} to {s.split})'
        for s in manifest.subjects
        if before.get(s.id, s.split) != s.split
    ]
    if moved:
        shown = ', '.join(moved[:5]) + (', ...' if len(moved) > 5 else '')
        remarks.append(
            f'{len(moved)} subjects changed their split: {shown}; do not resume or test a model '
            'that was trained on the earlier ones'
        )
    lost = [a for a in earlier.anatomies if a not in manifest.anatomies]
    if lost:
        remarks.append(
            f'not in the dataset any more: {", ".join(lost)}; name them with --anatomies to keep '
            'them'
        )
    # Of some an interrupted run left nothing but their folder.
    stale = [
        a
        for a in manifest.anatomies
        if a not in (*manifest.templates, *manifest.open)
        and (a in earlier.templates or is_built(shapes_folder(manifest, a)))
    ]
    if stale:
        remarks.append(f'correspondences must be built again: {", ".join(stale)}; run massm pdm')
    imported = [a for a in stale if is_imported(earlier, a)]
    if imported:
        remarks.append(
            f'their particles were imported: {", ".join(imported)}; or import them again'
        )
    return remarks


def record_file(out: Path, subject: str) -> Path:
    """What says that a subject was prepared, and of what (:mod:`massm.io.records`)."""
    return out / '.prepare' / f'{subject}.json'


def mark_unfinished(out: Path, subject: str) -> None:
    """Has a subject prepared again, and what there is of it removed when its source is gone."""
    write_record(record_file(out, subject), 'unfinished', {})


def remove_gone(out: Path, earlier: Manifest | None, ids: list[str]) -> list[str]:
    """Removes what was prepared, or begun to be, of subjects that are not in the source any more;
    their names."""
    records = (out / '.prepare').glob('[!.]*.json') if earlier is not None else ()
    gone = sorted({record.stem for record in records} - set(ids))
    for subject in gone:
        for file in _files(out, subject):
            file.unlink(missing_ok=True)
    return gone


def _files(out: Path, subject: str) -> list[Path]:
    volumes = [out / 'images', *(out / 'masks').glob('*')]
    files = [folder / f'{subject}{end}' for folder in volumes for end in ('.nii', '.nii.gz')]
    for shapes in (out / 'shapes').glob('*'):
        files += [shapes / f'meshes/{subject}.ply', shapes / f'.mended/{subject}.npz']
        files += [shapes / f'{frame}/{subject}.particles' for frame in ('local', 'world')]
        files.append(shapes / f'local/.{subject}.json')
    return [*files, record_file(out, subject)]


def _holds(manifest: Manifest, earlier: Manifest, anatomy: str) -> bool:
    before, now = _whole(earlier, anatomy), _whole(manifest, anatomy)
    same = {n: (e.mesh, s) for n, (e, s) in now.items()} == {
        n: (e.mesh, s) for n, (e, s) in before.items()
    }
    return same and all(_fits(earlier, anatomy, name, entry) for name, (entry, _) in before.items())


def _whole(manifest: Manifest, anatomy: str) -> dict[str, tuple[AnatomyEntry, str]]:
    return {
        s.id: (s.anatomies[anatomy], s.split)
        for s in manifest.subjects
        if anatomy in s.anatomies and s.anatomies[anatomy].status.is_whole
    }


def _fits(manifest: Manifest, anatomy: str, subject: str, entry: AnatomyEntry) -> bool:
    """Whether a shape's particles lie on its mesh: it is older than they are, since a mesh that
    comes out as it was is not written again, or is the one that they were laid on, by its content.
    A shape that has none was left out, and may stay so."""
    if entry.local is None or entry.mesh is None:
        return entry.local is None
    mesh, local = manifest.path(entry.mesh), manifest.path(entry.local)
    if not (mesh.is_file() and local.is_file()):
        return False
    is_older = mesh.stat().st_mtime_ns <= local.stat().st_mtime_ns
    return is_older or is_surface_of(shapes_folder(manifest, anatomy), subject, mesh)


def _carried_over(manifest: Manifest, earlier: Manifest, anatomy: str) -> Manifest:
    known = _whole(earlier, anatomy)
    subjects = []
    for subject in manifest.subjects:
        if subject.id in known:
            old, entry = known[subject.id][0], subject.anatomies[anatomy]
            entry = replace(
                entry, local=old.local, world=old.world, patient_to_world=old.patient_to_world
            )
            subject = replace(subject, anatomies={**subject.anatomies, anatomy: entry})
        subjects.append(subject)
    templates = {**manifest.templates, anatomy: earlier.templates[anatomy]}
    return replace(manifest.with_subjects(subjects), templates=templates)
