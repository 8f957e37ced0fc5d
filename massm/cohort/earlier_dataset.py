"""A dataset prepared before in the same folder: what still holds of it, and what is gone."""

import json
from dataclasses import replace
from pathlib import Path

from massm.cohort.manifest import FORMAT, AnatomyEntry, Manifest, SubjectEntry, load_manifest
from massm.errors import DatasetError


def load_earlier(out: Path, ids: list[str]) -> Manifest | None:
    """The dataset at ``out``, if there is one.

    Args:
        ids: the subjects of the source.

    Raises:
        DatasetError: it shares no subject with the source, or is no dataset of ours.
    """
    _check_ours(out)
    try:
        earlier = load_manifest(out)
    except DatasetError:
        return None
    prepared = [s.id for s in earlier.subjects if _record(out, s.id).is_file()]
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


def with_correspondences(manifest: Manifest, earlier: Manifest | None) -> Manifest:
    """The manifest with the particles and templates of those anatomies of which nothing changed
    since they were built: the same whole shapes, in the same splits."""
    for anatomy in manifest.anatomies if earlier is not None else ():
        if anatomy in earlier.templates and _holds(manifest, earlier, anatomy):
            manifest = _carried_over(manifest, earlier, anatomy)
    return manifest


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
    stale = [
        a for a in earlier.templates if a in manifest.anatomies and a not in manifest.templates
    ]
    if stale:
        remarks.append(f'correspondences must be built again: {", ".join(stale)}; run massm pdm')
    return remarks


def remove_gone(out: Path, earlier: Manifest | None, ids: list[str]) -> list[str]:
    """Removes what was prepared of subjects that are not in the source any more; their names."""
    gone = [
        s
        for s in (earlier.subjects if earlier is not None else ())
        if s.id not in ids and _record(out, s.id).is_file()
    ]
    for subject in gone:
        for file in _files(earlier, subject):
            file.unlink(missing_ok=True)
    return [subject.id for subject in gone]


def _files(manifest: Manifest, subject: SubjectEntry) -> list[Path]:
    named = [subject.image] if subject.image else []
    for anatomy, entry in subject.anatomies.items():
        named += [f for f in (entry.mask, entry.mesh, entry.local, entry.world) if f]
        shapes = f'shapes/{anatomy}'
        named += [f'{shapes}/local/.{subject.id}.json', f'{shapes}/.mended/{subject.id}.npz']
        named += [f'{shapes}/{frame}/{subject.id}.particles' for frame in ('local', 'world')]
    return [*(manifest.path(name) for name in named), _record(manifest.root, subject.id)]


def _record(out: Path, subject: str) -> Path:
    return out / '.prepare' / f'{subject}.json'


def _holds(manifest: Manifest, earlier: Manifest, anatomy: str) -> bool:
    before, now = _whole(earlier, anatomy), _whole(manifest, anatomy)
    same = {n: (e.mesh, s) for n, (e, s) in now.items()} == {
        n: (e.mesh, s) for n, (e, s) in before.items()
    }
    return same and all(_is_older(earlier, entry) for entry, _ in before.values())


def _whole(manifest: Manifest, anatomy: str) -> dict[str, tuple[AnatomyEntry, str]]:
    return {
        s.id: (s.anatomies[anatomy], s.split)
        for s in manifest.subjects
        if anatomy in s.anatomies and s.anatomies[anatomy].status.is_whole
    }


def _is_older(manifest: Manifest, entry: AnatomyEntry) -> bool:
    """Whether a shape's mesh is older than its particles: a mesh that comes out as it was is not
    written again. A shape that has none was left out, and may stay so."""
    if entry.local is None or entry.mesh is None:
        return entry.local is None
    mesh, local = manifest.path(entry.mesh), manifest.path(entry.local)
    whole = mesh.is_file() and local.is_file()
    return whole and mesh.stat().st_mtime_ns <= local.stat().st_mtime_ns


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
