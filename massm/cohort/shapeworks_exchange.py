"""ShapeWorks projects to and from a dataset's shape folders, nothing lost on the way.

Particles are copied as they are, byte for byte; matrices and groups live on in the folder's own
``project.swproj``, which export reads. Several domains are several anatomies.
"""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from massm.cohort.correspondences import enter_shapes, shapes_folder
from massm.cohort.manifest import AnatomyEntry, Manifest, SubjectEntry, load_manifest
from massm.cohort.shape_folder import (
    RegisteredShape,
    particle_file,
    read_world,
    write_template_shape,
)
from massm.cohort.shape_summary import write_summary
from massm.cohort.surface_cohort import ShapeSource
from massm.errors import DatasetError, ShapeError
from massm.io.atomic import replacing
from massm.io.meshes import read_mesh, write_mesh
from massm.io.particles import read_particles, write_particles
from massm.io.shapeworks import (
    Project,
    ProjectDomain,
    ProjectSubject,
    read_project,
    write_project,
)
from massm.shape.alignment import rigid_fit
from massm.shape.quality import measure
from massm.shape.surface_warp import SurfaceWarp
from massm.structures import AnatomyStatus, Mesh, RigidTransform

# ShapeWorks writes matrices with six decimals: a hundredth of a millimetre in a patient.
AGREEMENT_MM = 0.05


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
    if len(anatomies) != len(project.domains):
        raise ShapeError(
            f'{path}: has {len(project.domains)} domains ({", ".join(project.domains)}); give '
            'each a name with --anatomy, in this order'
        )
    names = [subject.name for subject in project.subjects]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ShapeError(f'{path}: several subjects are called {doubled[0]}; rename them')
    if (root / 'dataset.json').is_file():
        manifest = load_manifest(root)
    else:
        manifest = Manifest(root, spacing, (), ())
    remarks: list[str] = []
    for domain, anatomy in zip(project.domains, anatomies, strict=True):
        manifest = _import_domain(project, domain, anatomy, manifest, remarks)
    manifest.save()
    return remarks


def export_project(root: Path, anatomies: list[str], path: Path) -> None:
    """Writes a project of the dataset's ``anatomies`` with its files in the project's folder:
    subjects who have particles of any of them.

    Raises:
        DatasetError: an anatomy has no particles.
    """
    manifest = load_manifest(root)
    rows: dict[str, ProjectSubject] = {}
    for anatomy in anatomies:
        folder = shapes_folder(manifest, anatomy)
        if not (folder / 'project.swproj').is_file():
            raise DatasetError(
                f'{folder}: holds no particles; run tools/build_pdm.py {root}, or choose from '
                f'{", ".join(manifest.anatomies)}'
            )
        source = read_project(folder / 'project.swproj')
        for subject in source.subjects:
            domain = next(iter(subject.domains.values()))
            copied = _copy_domain(source, subject.name, domain, anatomy, path.parent)
            earlier = rows.get(subject.name)
            domains = {**(earlier.domains if earlier else {}), anatomy: copied}
            rows[subject.name] = ProjectSubject(subject.name, domains, subject.groups)
    write_project(path, list(rows.values()))


def _copy_domain(
    source: Project, subject: str, domain: ProjectDomain, anatomy: str, out: Path
) -> ProjectDomain:
    """The domain with its files copied under ``out``, one folder an anatomy."""
    copies = {}
    for kind in ('groomed', 'local', 'world'):
        relative = getattr(domain, kind)
        if relative is not None:
            file = source.file(relative)
            label = '' if kind == 'groomed' else f'_{kind}'
            copies[kind] = f'{anatomy}/{subject}{label}{file.suffix}'
            _copy(file, out / copies[kind])
    return replace(domain, shape=copies.get('groomed'), **copies)


def _import_domain(
    project: Project, domain: str, anatomy: str, manifest: Manifest, remarks: list[str]
) -> Manifest:
    folder = shapes_folder(manifest, anatomy)
    found: dict[str, tuple[ProjectSubject, RigidTransform]] = {}
    for subject in project.subjects:
        if domain in subject.domains:
            motion = _import_subject(project, subject, domain, folder, remarks)
            found[subject.name] = subject, motion
    template, warp, mean = _mean_template(folder, list(found))
    results, matrices = [], {}
    for name, (subject, motion) in found.items():
        mesh_file = folder / 'meshes' / f'{name}.ply'
        posed = read_mesh(mesh_file)
        posed = posed.with_vertices(motion.apply(posed.vertices))
        world = read_particles(particle_file(folder, 'world', name))
        quality = measure(world, posed, template, warp, mean)
        source = ShapeSource(name, mesh_file, groups=subject.groups)
        results.append(RegisteredShape(source, motion, quality))
        matrices[name] = subject.domains[domain].alignment, subject.domains[domain].procrustes
    write_summary(folder, anatomy, results, matrices=matrices)
    return enter_shapes(_with_anatomy(manifest, anatomy, list(found)), {anatomy: results})


def _import_subject(
    project: Project, subject: ProjectSubject, domain: str, folder: Path, remarks: list[str]
) -> RigidTransform:
    """Copies one subject's mesh and particles; its local-to-world motion."""
    entry = subject.domains[domain]
    missing = [k for k in ('mesh', 'local', 'world') if getattr(entry, k) is None]
    if missing:
        raise ShapeError(
            f'{project.path}: {subject.name} has no {missing[0]} file; groom and optimise the '
            'project in ShapeWorks first'
        )
    local_file, world_file = project.file(str(entry.local)), project.file(str(entry.world))
    local = read_particles(local_file)
    world = read_particles(world_file, len(local))
    write_mesh(folder / 'meshes' / f'{subject.name}.ply', read_mesh(project.file(str(entry.mesh))))
    _copy(local_file, particle_file(folder, 'local', subject.name))
    matrix = entry.local_to_world
    off = np.abs(local @ matrix[:3, :3].T + matrix[:3, 3] - world).max()
    if off < AGREEMENT_MM and (clean := _orthonormal(matrix)) is not None:
        _copy(world_file, particle_file(folder, 'world', subject.name))
        return RigidTransform(clean)
    motion = rigid_fit(local, world)
    write_particles(particle_file(folder, 'world', subject.name), motion.apply(local))
    remarks.append(
        f'{subject.name}: world particles are not its local ones moved rigidly by the '
        f"project's matrices (scaled?); taken as the nearest rigid motion"
    )
    return motion


def _orthonormal(matrix: np.ndarray) -> np.ndarray | None:
    """``matrix`` with its rotation's rounding taken out; ``None`` where it is no rotation."""
    u, scales, vh = np.linalg.svd(matrix[:3, :3])
    if np.abs(scales - 1).max() > 1e-3 or np.linalg.det(u @ vh) < 0:
        return None
    clean = matrix.copy()
    clean[:3, :3] = u @ vh
    return clean


def _mean_template(folder: Path, subjects: list[str]) -> tuple[Mesh, SurfaceWarp, np.ndarray]:
    """The surface of the subject nearest to the mean, warped to the mean, with the map that
    carries it; written as the folder's template."""
    world = read_world(folder, subjects)
    mean = world.mean(0)
    nearest = int(np.argmin(((world - mean) ** 2).sum((1, 2))))
    mesh = read_mesh(folder / 'meshes' / f'{subjects[nearest]}.ply')
    local = read_particles(particle_file(folder, 'local', subjects[nearest]))
    warp = SurfaceWarp(mesh.vertices, local)
    template = mesh.with_vertices(warp.apply(mean))
    write_template_shape(folder, template, mean)
    return template, warp, mean


def _with_anatomy(manifest: Manifest, anatomy: str, names: list[str]) -> Manifest:
    """The manifest with a whole ``anatomy``, without particles yet, in the subjects ``names``."""
    subjects = {s.id: s for s in manifest.subjects}
    for name in names:
        subject = subjects.get(name) or SubjectEntry(name, 'train', None)
        old = subject.anatomies.get(anatomy)
        mesh = f'shapes/{anatomy}/meshes/{name}.ply'
        entry = AnatomyEntry(AnatomyStatus.OK, mask=old.mask if old else None, mesh=mesh)
        subjects[name] = replace(subject, anatomies={**subject.anatomies, anatomy: entry})
    anatomies = tuple(dict.fromkeys((*manifest.anatomies, anatomy)))
    return replace(manifest.with_subjects(list(subjects.values())), anatomies=anatomies)


def _copy(source: Path, target: Path) -> None:
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)
