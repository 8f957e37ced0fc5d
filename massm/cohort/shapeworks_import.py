"""ShapeWorks projects into a dataset's shape folders, nothing lost on the way.

Particles are copied as they are, byte for byte; matrices and groups live on in the folder's own
``project.swproj``, which export reads (:mod:`massm.cohort.shapeworks_export`). Several domains are
several anatomies.
"""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np

from massm.cohort.correspondences import enter_shapes, shapes_folder, withdraw_shapes
from massm.cohort.earlier_dataset import mark_unfinished, record_file
from massm.cohort.gone_shapes import remove_gone, shapes_of
from massm.cohort.manifest import AnatomyEntry, Manifest, SubjectEntry, load_manifest
from massm.cohort.manifest_update import update_manifest
from massm.cohort.shape_folder import (
    RegisteredShape,
    forget_model,
    read_world,
    write_template_shape,
)
from massm.cohort.shape_records import IMPORTED, mesh_file, particle_file, write_shape_record
from massm.cohort.shape_summary import write_summary
from massm.cohort.shapeworks_subject import ProjectShape, check_in_scan, check_place, check_shape
from massm.cohort.surface_cohort import ShapeSource
from massm.errors import ShapeError
from massm.io.atomic import copy_file
from massm.io.meshes import read_mesh, write_mesh
from massm.io.names import check_name
from massm.io.particles import read_particles, write_particles
from massm.io.shapeworks import Project, read_project
from massm.shape.quality import measure
from massm.shape.surface_warp import SurfaceWarp
from massm.structures import AnatomyStatus, Mesh


def import_project(path: Path, root: Path, anatomies: list[str], spacing: float) -> list[str]:
    """Takes a project's shapes into the dataset at ``root``, which is made if there is none.

    Args:
        anatomies: a name for each domain, in the project's order.
        spacing: of a dataset newly made, mm.

    Returns:
        Remarks: what did not fit and was made to.

    Raises:
        ShapeError, DatasetError: the project or the dataset cannot be used.
    """
    project = read_project(path)
    for anatomy in anatomies:
        check_name(anatomy, '--anatomy', ShapeError)
    if len(anatomies) != len(project.domains) or len(set(anatomies)) != len(anatomies):
        raise ShapeError(
            f'{path}: has {len(project.domains)} domains ({", ".join(project.domains)}); give '
            'each a name of its own with --anatomy, in this order'
        )
    _check_subjects(project)
    exists = (root / 'dataset.json').is_file()
    manifest = load_manifest(root) if exists else Manifest(root, spacing, (), ())
    remarks = _columns(project)
    # All is read before anything is written.
    domains = list(zip(project.domains, anatomies, strict=True))
    shapes = [_domain_shapes(project, *names, manifest, remarks) for names in domains]
    for anatomy, found in zip(anatomies, shapes, strict=True):
        manifest = _import_domain(found, anatomy, manifest, remarks)
    return remarks


def _check_subjects(project: Project) -> None:
    """Refuses names that two subjects share or that cannot be a file's."""
    names = [subject.name for subject in project.included]
    if not names:
        raise ShapeError(f'{project.path}: every subject is excluded; include some in ShapeWorks')
    for name in names:
        check_name(name, str(project.path), ShapeError)
    project.check_names()


def _columns(project: Project) -> list[str]:
    """What the project says and is not taken over as it is."""
    remarks = []
    excluded = [subject.name for subject in project.subjects if subject.excluded]
    if excluded:
        remarks.append(f'excluded in the project, left out: {", ".join(excluded)}')
    if any(subject.fixed for subject in project.included):
        remarks.append('shapes that are not fixed were laid on a fixed model: taken as test')
    if project.unread:
        remarks.append(f'columns not taken over: {", ".join(project.unread)}')
    return remarks


def _domain_shapes(
    project: Project, domain: str, anatomy: str, manifest: Manifest, remarks: list[str]
) -> dict[str, tuple[ProjectShape, str]]:
    """Every shape of a domain, checked, with its split: the dataset's own where it has the
    subject.

    Args:
        anatomy: what the domain is in the dataset.

    Raises:
        ShapeError: none, none for training, or one that cannot be used.
    """
    known = {subject.id: subject for subject in manifest.subjects}
    found, unmasked = {}, []
    for subject in project.included:
        if domain not in subject.domains:
            continue
        named, own = project.split_of(subject), known.get(subject.name)
        split = named if own is None else own.split
        if split != named and 'split' in subject.groups:
            remarks.append(
                f'{subject.name}: {named} in the project, stays {split} as in dataset.json'
            )
        shape = check_shape(project, subject, domain)
        if own is not None and not _lies_at_mask(project, shape, manifest, own, anatomy):
            unmasked.append(subject.name)
        found[subject.name] = shape, split
    if not any(split == 'train' for _, split in found.values()):
        raise ShapeError(f'{project.path}: domain {domain} has no training shape; include some')
    if unmasked:
        remarks.append(
            f'no mask of {anatomy} in {len(unmasked)} scans ({unmasked[0]}): taken as RAS mm, in '
            'which its particles lie within them'
        )
    return found


def _lies_at_mask(
    project: Project, shape: ProjectShape, manifest: Manifest, subject: SubjectEntry, anatomy: str
) -> bool:
    """False where a subject of the dataset has a scan and no mask of a whole ``anatomy``, so that
    only the scan's bounds tell the frame; what is known not to be whole is not looked at.

    Raises:
        ShapeError: the shape lies elsewhere than the mask, or than the scan.
    """
    entry = subject.anatomies.get(anatomy)
    if subject.image is None or (entry is not None and _is_known_otherwise(entry)):
        return True
    if entry is not None and entry.mask is not None:
        check_place(project, shape, manifest.path(entry.mask))
        return True
    check_in_scan(project, shape, manifest.path(subject.image))
    return False


def _import_domain(
    shapes: dict[str, tuple[ProjectShape, str]],
    anatomy: str,
    manifest: Manifest,
    remarks: list[str],
) -> Manifest:
    """Writes a domain's shapes into the dataset, and the manifest with them, which it returns."""
    folder = shapes_folder(manifest, anatomy)
    earlier = shapes_of(folder)
    withdraw_shapes(manifest.root, anatomy)
    forget_model(folder)
    remarks += _replaces(manifest, anatomy, shapes)
    for name, (shape, _) in shapes.items():
        _write_shape(folder, name, shape)
    remarks += [shape.remark for shape, _ in shapes.values() if shape.remark is not None]
    train = [name for name, (_, split) in shapes.items() if split == 'train']
    template, warp, mean = _mean_template(folder, train)
    results, matrices = [], {}
    for name, (shape, split) in shapes.items():
        posed = shape.mesh()
        posed = posed.with_vertices(shape.motion.apply(posed.vertices))
        quality = measure(shape.world(), posed, template, warp, mean)
        mesh = mesh_file(folder, name)
        source = ShapeSource(name, mesh, split == 'train', groups=shape.subject.groups)
        results.append(RegisteredShape(source, shape.motion, quality))
        matrices[name] = shape.domain.alignment, shape.domain.procrustes
    write_summary(folder, anatomy, results, matrices=matrices)
    remarks += _remove_gone(manifest, anatomy, earlier, results)
    splits = {name: split for name, (_, split) in shapes.items()}

    def enter(now: Manifest) -> Manifest:
        return enter_shapes(_with_anatomy(now, anatomy, splits), {anatomy: results})

    return update_manifest(manifest.root, enter, otherwise=manifest)


def _write_shape(folder: Path, name: str, shape: ProjectShape) -> None:
    write_mesh(mesh_file(folder, name), shape.mesh())
    copy_file(shape.local_file, particle_file(folder, 'local', name))
    if shape.remark is None:
        copy_file(shape.world_file, particle_file(folder, 'world', name))
    else:
        write_particles(particle_file(folder, 'world', name), shape.world())
    write_shape_record(folder, name, IMPORTED, {})


def _remove_gone(
    manifest: Manifest, anatomy: str, earlier: dict[str, bool], results: list[RegisteredShape]
) -> list[str]:
    """Removes ``earlier`` shapes that are not imported; the surfaces that were made of masks stay.

    Returns:
        Remarks on both.
    """
    entries = {s.id: s.anatomies[anatomy] for s in manifest.subjects if anatomy in s.anatomies}
    prepared = {name: e.mesh for name, e in entries.items() if e.mesh and not e.is_shape_alone}
    kept = [manifest.path(mesh) for mesh in prepared.values()]
    removed = remove_gone(shapes_folder(manifest, anatomy), earlier, results, kept)
    gone = [name for name in removed if name not in prepared]
    bare = [name for name in removed if name in prepared]
    remarks = []
    if gone:
        remarks.append(f'{anatomy}: removed, no longer in the project: {", ".join(gone)}')
    if bare:
        remarks.append(
            f'{anatomy}: without particles now, as they are not in the project: {", ".join(bare)}'
        )
    return remarks


def _mean_template(folder: Path, subjects: list[str]) -> tuple[Mesh, SurfaceWarp, np.ndarray]:
    """The surface of the subject nearest to the mean, warped to the mean, with the map that
    carries it; written as the folder's template."""
    world = read_world(folder, subjects)
    mean = world.mean(0)
    nearest = int(np.argmin(((world - mean) ** 2).sum((1, 2))))
    mesh = read_mesh(mesh_file(folder, subjects[nearest]))
    local = read_particles(particle_file(folder, 'local', subjects[nearest]))
    warp = SurfaceWarp(mesh.vertices, local)
    template = mesh.with_vertices(warp.apply(mean))
    write_template_shape(folder, template, mean)
    return template, warp, mean


def _with_anatomy(manifest: Manifest, anatomy: str, splits: dict[str, str]) -> Manifest:
    """The manifest with a whole ``anatomy``, without particles yet, in the subjects that ``splits``
    names, unless it is known not to be whole there, and in no other that had nothing but an
    imported shape of it."""
    subjects = {s.id: _without_imported(s, anatomy, splits) for s in manifest.subjects}
    for name, split in splits.items():
        subject = subjects.get(name) or SubjectEntry(name, split, None)
        old = subject.anatomies.get(anatomy)
        if old is not None and _is_known_otherwise(old):
            continue
        mesh = f'shapes/{anatomy}/meshes/{name}.ply'
        entry = AnatomyEntry(AnatomyStatus.OK, mask=old.mask if old else None, mesh=mesh)
        subjects[name] = replace(subject, anatomies={**subject.anatomies, anatomy: entry})
    anatomies = tuple(dict.fromkeys((*manifest.anatomies, anatomy)))
    kept = [s for s in subjects.values() if s.image is not None or s.anatomies]
    return replace(manifest.with_subjects(kept), anatomies=anatomies)


def _is_known_otherwise(entry: AnatomyEntry) -> bool:
    return entry.status.is_labelled and not entry.status.is_whole


def _replaces(manifest: Manifest, anatomy: str, names: Collection[str]) -> list[str]:
    """Marks the prepared surfaces of ``anatomy`` that an import of the subjects ``names`` takes the
    place of, so that ``massm prepare`` brings them back.

    Returns:
        Remarks: of those, and of subjects whose masks say that it is not whole.
    """
    known = {s.id: s.anatomies[anatomy] for s in manifest.subjects if anatomy in s.anatomies}
    known = {name: known[name] for name in names if name in known}
    remarks = [
        f'{name}: {anatomy} is {entry.status.value} in dataset.json and stays so'
        for name, entry in known.items()
        if _is_known_otherwise(entry)
    ]
    prepared = [name for name, e in known.items() if e.mesh is not None and e.mask is not None]
    for name in prepared:
        if record_file(manifest.root, name).is_file():
            mark_unfinished(manifest.root, name)
    if prepared:
        remarks.append(
            f"{anatomy}: the project's surfaces take the place of {len(prepared)} prepared ones, "
            'which massm prepare brings back'
        )
    return remarks


def _without_imported(subject: SubjectEntry, anatomy: str, names: Collection[str]) -> SubjectEntry:
    entry = subject.anatomies.get(anatomy)
    if subject.id in names or entry is None or not entry.is_shape_alone:
        return subject
    others = {name: e for name, e in subject.anatomies.items() if name != anatomy}
    return replace(subject, anatomies=others)
