"""Correspondences of a dataset: which of its shapes make the model, and what the manifest says.

Only training shapes make the model; validation and test shapes are registered to it when it is
fixed, so that no test shape ever shapes the model.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from massm.cohort.manifest import AnatomyEntry, Manifest, SubjectEntry, load_manifest
from massm.cohort.manifest_update import update_manifest
from massm.cohort.mirror_images import forget_mirror_images
from massm.cohort.shape_folder import RegisteredShape, is_built
from massm.cohort.surface_cohort import ShapeSource, landmark_file
from massm.errors import DatasetError, ShapeError
from massm.io.names import some_of

# What mends the correspondences of a dataset with generated patients.
AUGMENT_AGAIN = 'run massm pdm on the dataset it came from, and augment that again'


def shapes_folder(manifest: Manifest, anatomy: str) -> Path:
    """Where the shapes of ``anatomy`` lie."""
    return manifest.root / 'shapes' / anatomy


def is_imported(manifest: Manifest, anatomy: str) -> bool:
    """Whether the particles of ``anatomy`` came from elsewhere and were not built here."""
    return anatomy in manifest.templates and not is_built(shapes_folder(manifest, anatomy))


def shape_sources(
    manifest: Manifest, anatomy: str, landmarks: Path | None = None
) -> list[ShapeSource]:
    """Every whole shape of ``anatomy``.

    Args:
        landmarks: folder with ``ANATOMY/ID.particles``, one ``x y z`` (patient mm) a line.

    Raises:
        ShapeError: the training split has none.
    """
    sources = []
    whole = whole_subjects(manifest, anatomy)
    # A column of a project written of them: said where it says anything.
    has_splits = any(subject.split != 'train' for subject in whole)
    for subject in whole:
        groups = {'split': subject.split} if has_splits else {}
        mesh = manifest.path(str(subject.anatomies[anatomy].mesh))
        marks = landmark_file(landmarks and landmarks / anatomy, subject.id)
        sources.append(ShapeSource(subject.id, mesh, subject.split == 'train', marks, groups))
    if not any(source.train for source in sources):
        raise ShapeError(
            f'{manifest.root}: no training subject has a whole {anatomy}; leave it out of '
            '--anatomies or add subjects'
        )
    return sources


def check_built(root: Path, anatomies: Sequence[str]) -> None:
    """Whether the dataset at ``root`` has correspondences of ``anatomies``.

    Raises:
        DatasetError: there is no dataset, or an anatomy's were not built since it was prepared,
            or cannot be.
    """
    manifest = load_manifest(root)
    missing = [name for name in anatomies if name not in manifest.templates]
    known = [name for name in missing if name in manifest.anatomies]
    nowhere = [name for name in known if not whole_subjects(manifest, name, 'train')]
    if nowhere:
        raise DatasetError(
            f'{manifest.root / "dataset.json"}: no training subject has a whole '
            f'{", ".join(nowhere)}; leave it out of the anatomies or add subjects'
        )
    if missing:
        is_augmented = any(subject.is_generated for subject in manifest.subjects)
        remedy = f'run massm pdm {root} (after each massm prepare that changed shapes)'
        raise DatasetError(
            f'{manifest.root / "dataset.json"}: has no correspondences of {", ".join(missing)}; '
            f'{AUGMENT_AGAIN if is_augmented else remedy}'
        )


def check_true(manifest: Manifest) -> None:
    """Whether all subjects are true patients, of whom alone a shape model is made.

    Raises:
        DatasetError: some were generated.
    """
    generated = [subject.id for subject in manifest.subjects if subject.is_generated]
    if generated:
        raise DatasetError(
            f'{manifest.root}: has patients that massm augment generated ({some_of(generated)}), '
            f'whose shapes are drawn from the model and make none; {AUGMENT_AGAIN}'
        )


def whole_subjects(
    manifest: Manifest, anatomy: str, split: str | None = None
) -> list[SubjectEntry]:
    """Subjects in whom ``anatomy`` is whole, of one split or all."""
    return [
        subject
        for subject in manifest.subjects
        if (entry := subject.anatomies.get(anatomy)) is not None
        and entry.status.is_whole
        and split in (None, subject.split)
    ]


def enter_shapes(manifest: Manifest, results: dict[str, list[RegisteredShape]]) -> Manifest:
    """The manifest with particles, transforms and templates of the anatomies in ``results``."""
    subjects = []
    for subject in manifest.subjects:
        anatomies = dict(subject.anatomies)
        for anatomy, registered in results.items():
            found = next((r for r in registered if r.source.id == subject.id), None)
            if anatomy in anatomies:
                anatomies[anatomy] = _with_particles(anatomies[anatomy], anatomy, found)
        subjects.append(replace(subject, anatomies=anatomies))
    templates = {**manifest.templates, **{a: f'shapes/{a}/template.json' for a in results}}
    return replace(manifest.with_subjects(subjects), templates=templates)


def without_shapes(manifest: Manifest, anatomies: Collection[str]) -> Manifest:
    """The manifest without particles and templates of ``anatomies``."""
    bare = enter_shapes(manifest, {anatomy: [] for anatomy in anatomies})
    templates = {name: file for name, file in manifest.templates.items() if name not in anatomies}
    return replace(bare, templates=templates)


def withdraw_shapes(root: Path, anatomy: str) -> None:
    """Writes the dataset at ``root``, if there is one, without particles and template of
    ``anatomy`` before any of them is replaced, so that what is interrupted meanwhile counts as not
    built."""
    if (root / 'dataset.json').is_file():
        update_manifest(root, lambda manifest: without_shapes(manifest, [anatomy]))
    forget_mirror_images(root, anatomy)


def shapes_seen(manifest: Manifest, anatomy: str) -> dict[str, tuple[object, ...]]:
    """Every whole shape of ``anatomy`` with what changes when it does: its split, and the name,
    size and time of its surface."""
    seen: dict[str, tuple[object, ...]] = {}
    for subject in whole_subjects(manifest, anatomy):
        mesh = str(subject.anatomies[anatomy].mesh)
        file = manifest.path(mesh)
        stat = file.stat() if file.is_file() else None
        seen[subject.id] = subject.split, mesh, stat and (stat.st_size, stat.st_mtime_ns)
    return seen


def enter_built(
    manifest: Manifest,
    anatomy: str,
    results: list[RegisteredShape],
    seen: dict[str, tuple[object, ...]],
) -> Manifest:
    """The manifest with the shapes of ``anatomy`` that were built of those ``seen``.

    Raises:
        ShapeError: the dataset has others by now.
    """
    if shapes_seen(manifest, anatomy) != seen:
        raise ShapeError(
            f'{shapes_folder(manifest, anatomy)}: another command changed its shapes or their '
            'splits meanwhile; run massm pdm again'
        )
    return enter_shapes(manifest, {anatomy: results})


def _with_particles(
    entry: AnatomyEntry, anatomy: str, result: RegisteredShape | None
) -> AnatomyEntry:
    if result is None or result.patient_to_world is None or not entry.status.is_whole:
        return replace(entry, local=None, world=None, patient_to_world=None)
    local, world = (
        f'shapes/{anatomy}/{frame}/{result.source.id}.particles' for frame in ('local', 'world')
    )
    matrix = result.patient_to_world.matrix.tolist()
    return replace(entry, local=local, world=world, patient_to_world=matrix)
