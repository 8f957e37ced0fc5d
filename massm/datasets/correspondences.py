"""Builds the correspondences of a dataset: template, particles, shape model per anatomy.

Only training shapes choose the template and make the model; validation and test shapes are
registered to it, so that no test shape ever shapes the model.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from scipy.ndimage import center_of_mass, shift

from massm.datasets.manifest import AnatomyEntry, Manifest, SubjectEntry
from massm.errors import MassmError, ShapeError
from massm.io.atomic import replacing, write_text
from massm.io.meshes import read_mesh
from massm.io.nifti import read_mask
from massm.io.particles import read_particles, write_particles
from massm.io.shapeworks import ProjectSubject, write_project
from massm.shape.alignment import align_surfaces, rigid_fit
from massm.shape.correspondence import (
    RegistrationTemplate,
    corresponding_particles,
    fit_template,
    make_template,
)
from massm.shape.particles import spacing_variation
from massm.shape.pdm import PointDistributionModel
from massm.shape.statistics import shape_statistics
from massm.shape.surface import folded_fraction, surface_distance, warp_weights
from massm.structures import Mesh, RigidTransform

CODE_VERSION = 1


@dataclass(frozen=True)
class Quality:
    """How well one subject's particles carry its surface: surface-to-surface distance (mean of
    both ways, mm), variation of the particles' spacing, share of folded triangles."""

    surface_distance_mm: float
    spacing_cv: float
    folded: float


@dataclass(frozen=True, eq=False)
class RegisteredSubject:
    """One subject of one anatomy: local to world motion and quality, or why it failed."""

    id: str
    patient_to_world: RigidTransform | None
    quality: Quality | None
    failure: str | None = None


@dataclass(frozen=True, eq=False)
class AnatomyTemplate:
    """The template of one anatomy: its subject, registration data, world particles and the
    particles-to-surface map."""

    subject: str
    registration: RegistrationTemplate
    world: np.ndarray
    warp: np.ndarray
    fingerprint: str


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


def choose_medoid(manifest: Manifest, anatomy: str) -> SubjectEntry:
    """The training subject whose mask, centred, is nearest to the average mask.

    Raises:
        ShapeError: the training split has no whole shape of this anatomy.
    """
    subjects = whole_subjects(manifest, anatomy, 'train')
    if not subjects:
        raise ShapeError(
            f'{manifest.root}: no training subject has a whole {anatomy}; leave it out of '
            '--anatomies or add subjects'
        )
    crops = [_crop(read_mask(manifest.path(s.anatomies[anatomy].mask))[0]) for s in subjects]
    size = np.max([crop.shape for crop in crops], axis=0) + 4
    centred = np.stack([_centre(crop, size) for crop in crops])
    distance = ((centred - centred.mean(0)) ** 2).sum((1, 2, 3))
    return subjects[int(np.argmin(distance))]


def build_template(manifest: Manifest, anatomy: str, particles: int) -> AnatomyTemplate:
    """The medoid's surface with ``particles`` chosen on it; its world frame is its own patient
    frame moved to the particles' centroid."""
    medoid = choose_medoid(manifest, anatomy)
    file = manifest.path(medoid.anatomies[anatomy].mesh)
    registration = make_template(read_mesh(file), particles)
    chosen = registration.mesh.vertices[registration.particles]
    digest = hashlib.sha256(file.read_bytes() + f'{particles} {CODE_VERSION}'.encode())
    return AnatomyTemplate(
        medoid.id,
        registration,
        chosen - chosen.mean(0),
        warp_weights(registration.mesh.vertices, chosen),
        digest.hexdigest(),
    )


def register_subjects(
    manifest: Manifest, anatomy: str, template: AnatomyTemplate, jobs: int
) -> Iterator[RegisteredSubject]:
    """Registers every whole subject, yielding each when its particles are on disk."""
    tasks = (
        delayed(register_subject)(manifest, anatomy, template, subject.id)
        for subject in whole_subjects(manifest, anatomy)
    )
    yield from Parallel(n_jobs=jobs, return_as='generator_unordered')(tasks)


def particle_paths(anatomy: str, subject: str) -> tuple[str, str]:
    """Local and world particle files, relative to the dataset."""
    folder = f'shapes/{anatomy}'
    return f'{folder}/local/{subject}.particles', f'{folder}/world/{subject}.particles'


def register_subject(
    manifest: Manifest, anatomy: str, template: AnatomyTemplate, subject: str
) -> RegisteredSubject:
    """Registers one subject and writes its particles; an unchanged earlier result is kept."""
    folder = manifest.root / 'shapes' / anatomy
    mesh_file = folder / 'meshes' / f'{subject}.ply'
    record = folder / 'local' / f'.{subject}.json'
    try:
        fingerprint = hashlib.sha256(
            template.fingerprint.encode() + mesh_file.read_bytes()
        ).hexdigest()
        done = _read_record(record, fingerprint)
        if done is not None:
            return done
        result = _register(manifest, anatomy, template, subject, read_mesh(mesh_file))
    except (MassmError, OSError, np.linalg.LinAlgError) as error:
        return RegisteredSubject(subject, None, None, f'{subject}/{anatomy}: {error}')
    assert result.patient_to_world is not None and result.quality is not None
    content = {
        'fingerprint': fingerprint,
        'patient_to_world': result.patient_to_world.matrix.tolist(),
        'quality': asdict(result.quality),
    }
    write_text(record, json.dumps(content))
    return result


def _register(
    manifest: Manifest, anatomy: str, template: AnatomyTemplate, subject: str, mesh: Mesh
) -> RegisteredSubject:
    registration = template.registration
    to_template = align_surfaces(mesh.vertices[::3], registration.mesh.vertices[::2])
    posed = mesh.with_vertices(to_template.apply(mesh.vertices))
    *_, state = fit_template(registration, posed)
    on_surface = corresponding_particles(registration, state, posed)
    local = to_template.inverse().apply(on_surface)
    to_world = rigid_fit(local, template.world)
    local_file, world_file = particle_paths(anatomy, subject)
    write_particles(manifest.root / local_file, local)
    write_particles(manifest.root / world_file, to_world.apply(local))
    return RegisteredSubject(subject, to_world, measure(template, on_surface, posed))


def measure(template: AnatomyTemplate, particles: np.ndarray, surface: Mesh) -> Quality:
    """Quality of ``particles`` ``[M, 3]`` on ``surface``, both mm in one frame."""
    warped = template.registration.mesh.with_vertices(template.warp @ particles)
    both = [
        surface_distance(warped.vertices, surface).mean(),
        surface_distance(surface.vertices, warped).mean(),
    ]
    return Quality(
        float(np.mean(both)),
        spacing_variation(particles),
        folded_fraction(template.registration.mesh, warped.vertices, surface),
    )


def write_anatomy(
    manifest: Manifest, anatomy: str, template: AnatomyTemplate, results: list[RegisteredSubject]
) -> dict[str, object]:
    """Writes ``template.json``, ``pdm.npz``, ``stats.json``, ``project.swproj``; returns the
    statistics."""
    folder = manifest.root / 'shapes' / anatomy
    good = sorted((r for r in results if r.failure is None), key=lambda r: r.id)
    train = {s.id for s in whole_subjects(manifest, anatomy, 'train')}
    world = np.stack(
        [read_particles(folder / 'world' / f'{r.id}.particles') for r in good if r.id in train]
    )
    with replacing(folder / 'pdm.npz') as temporary:
        PointDistributionModel.fit(world).save(temporary)
    quality = {r.id: asdict(r.quality) for r in good if r.quality is not None}
    stats = {
        'particles': len(template.world),
        'train_shapes': len(world),
        **shape_statistics(world),
        'quality': quality,
    }
    write_text(folder / 'stats.json', json.dumps(stats, indent=1) + '\n')
    description = {
        'anatomy': anatomy,
        'subject': template.subject,
        'num_particles': len(template.world),
        'mesh': f'meshes/{template.subject}.ply',
        'local': f'local/{template.subject}.particles',
        'world': f'world/{template.subject}.particles',
    }
    write_text(folder / 'template.json', json.dumps(description, indent=1) + '\n')
    write_project(folder / 'project.swproj', [_project_subject(r) for r in good])
    return stats


def update_manifest(manifest: Manifest, results: dict[str, list[RegisteredSubject]]) -> Manifest:
    """Enters particles, transforms and templates of the anatomies in ``results``; writes it."""
    subjects = []
    for subject in manifest.subjects:
        anatomies = dict(subject.anatomies)
        for anatomy, registered in results.items():
            found = next((r for r in registered if r.id == subject.id), None)
            if anatomy in anatomies:
                anatomies[anatomy] = _with_particles(anatomies[anatomy], anatomy, found)
        subjects.append(replace(subject, anatomies=anatomies))
    templates = {**manifest.templates, **{a: f'shapes/{a}/template.json' for a in results}}
    updated = replace(manifest.with_subjects(subjects), templates=templates)
    updated.save()
    return updated


def _with_particles(
    entry: AnatomyEntry, anatomy: str, result: RegisteredSubject | None
) -> AnatomyEntry:
    if result is None or result.patient_to_world is None:
        return replace(entry, local=None, world=None, patient_to_world=None)
    local, world = particle_paths(anatomy, result.id)
    matrix = result.patient_to_world.matrix.tolist()
    return replace(entry, local=local, world=world, patient_to_world=matrix)


def _project_subject(result: RegisteredSubject) -> ProjectSubject:
    assert result.patient_to_world is not None
    return ProjectSubject(
        result.id,
        f'meshes/{result.id}.ply',
        f'local/{result.id}.particles',
        f'world/{result.id}.particles',
        result.patient_to_world.matrix,
    )


def _read_record(record: Path, fingerprint: str) -> RegisteredSubject | None:
    try:
        content = json.loads(record.read_text(encoding='utf-8'))
        if content['fingerprint'] != fingerprint:
            return None
        motion = RigidTransform(np.array(content['patient_to_world']))
        quality = Quality(**content['quality'])
    except (OSError, KeyError, ValueError, TypeError):
        return None
    subject = record.name[1:].removesuffix('.json')
    world = record.parent.parent / 'world' / f'{subject}.particles'
    local = record.parent / f'{subject}.particles'
    if not (local.is_file() and world.is_file()):
        return None
    return RegisteredSubject(subject, motion, quality)


def _crop(mask: np.ndarray) -> np.ndarray:
    corners = np.argwhere(mask)
    low, high = corners.min(0), corners.max(0) + 1
    return mask[low[0] : high[0], low[1] : high[1], low[2] : high[2]].astype(np.float32)


def _centre(crop: np.ndarray, size: np.ndarray) -> np.ndarray:
    padded = np.pad(crop, [(0, n - m) for n, m in zip(size, crop.shape, strict=True)])
    offset = (np.array(padded.shape) - 1) / 2 - np.array(center_of_mass(padded))
    return shift(padded, offset, order=1)
