"""One anatomy's shapes on disk: ``shapes/ANATOMY/`` of a dataset, or a folder of its own.

meshes/ID.ply  local/ID.particles  world/ID.particles     every shape
correspondence.npz                                        the fixed model (massm.shape)
template.json  template.ply  template.particles           the mean shape
pdm.npz  stats.json  quality.png  project.swproj          what is made of it
.mended/ID.npz  .unfinished/  .model.json  local/.ID.json for the next run, of no other use
"""

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from massm.cohort.interrupted import going_on
from massm.cohort.shape_records import (
    begin_shape_record,
    forget_shapes,
    is_in_place,
    mark_in_place,
    mesh_file,
    particle_file,
    read_shape_record,
    write_shape_record,
)
from massm.cohort.surface_cohort import (
    LeftOut,
    ShapeSource,
    Surface,
    common_landmarks,
    find_mirrored,
    is_mirrored,
    mirrored,
    read_cohort,
)
from massm.errors import MassmError, ShapeError
from massm.io.atomic import replacing
from massm.io.meshes import write_mesh
from massm.io.particles import read_particles, write_particles
from massm.io.records import fingerprint, read_record, write_record
from massm.io.templates import MIRROR_FILE
from massm.shape.correspondence_model import CorrespondenceModel, CorrespondingShape
from massm.shape.population import PopulationSettings, TaskRunner, build_population
from massm.shape.quality import Quality, measure
from massm.structures import Mesh, RigidTransform

CODE_VERSION = 3
MODEL_FILE, MODEL_RECORD = 'correspondence.npz', '.model.json'
OWN_FOLDERS = ('meshes', 'local', 'world', '.mended', '.unfinished')
OWN_FILES = (
    *(MODEL_FILE, MODEL_RECORD, MIRROR_FILE, '.mirror.json'),
    *('template.json', 'template.ply', 'template.particles'),
    *('pdm.npz', 'stats.json', 'quality.png', 'project.swproj'),
)


@dataclass(frozen=True, eq=False)
class RegisteredShape:
    """What came of one shape: its motion and quality and what had to be mended, or why it was left
    out."""

    source: ShapeSource
    patient_to_world: RigidTransform | None = None
    quality: Quality | None = None
    remarks: tuple[str, ...] = ()
    failure: str | None = None


def register_shapes(
    folder: Path,
    sources: list[ShapeSource],
    settings: PopulationSettings,
    run: TaskRunner,
    fixed: CorrespondenceModel | None = None,
    begin: Callable[[], object] = lambda: None,
) -> list[RegisteredShape]:
    """Puts every shape into correspondence and writes its particles, and the model.

    The model is made of the training shapes, or is ``fixed``, and then all shapes are new to it.
    What an earlier run left is kept where nothing it depends on has changed.

    Args:
        begin: called before anything that an earlier run left is replaced, perhaps twice.

    Raises:
        ShapeError: no training shape can be used.
    """
    area = None if fixed is None else fixed.surface.area()
    surfaces, left_out = read_cohort(sources, folder / '.mended', run, area)
    train = [s for s in surfaces if s.source.train and fixed is None]
    digest = _model(folder, train, left_out, settings, run, fixed, begin)
    unusable = {f.source.id for f in left_out}
    tasks = [(folder, digest, s) for s in surfaces if s.source.id not in unusable]
    if any(_replaces(*task) for task in tasks):
        begin()
    failed = [RegisteredShape(f.source, failure=f.reason) for f in left_out]
    return sorted(run('shapes', _register_one, tasks) + failed, key=lambda r: r.source.id)


def is_built(folder: Path) -> bool:
    """Whether a shape folder holds a model that was built, or begun to be."""
    return any((folder / name).is_file() for name in (MODEL_FILE, MODEL_RECORD))


def results_in(folder: Path) -> list[Path]:
    """The files in a shape folder that a build would write, but for surfaces."""
    files = [folder / name for name in OWN_FILES]
    files += [p for frame in ('local', 'world') for p in (folder / frame).glob('[!.]*.particles')]
    return sorted(file for file in files if file.is_file())


def forget_model(folder: Path) -> None:
    """Removes the model of a shape folder whose particles are another's from now on, and what is
    kept of the shapes that were laid on it."""
    for name in (MODEL_FILE, MODEL_RECORD):
        (folder / name).unlink(missing_ok=True)
    forget_shapes(folder)


def load_model(folder: Path) -> CorrespondenceModel:
    """The fixed model of a shape folder.

    Raises:
        ShapeError: correspondences were not built there.
    """
    path = folder / MODEL_FILE
    if not path.is_file():
        raise ShapeError(f'{path}: no such file; run tools/build_pdm.py first')
    return CorrespondenceModel.load(path)


def read_world(folder: Path, subjects: list[str]) -> np.ndarray:
    """``[N, M, 3]`` world particles, mm, of ``subjects``."""
    return np.stack([read_particles(particle_file(folder, 'world', s)) for s in subjects])


def write_template_shape(folder: Path, surface: Mesh, particles: np.ndarray) -> None:
    """The mean shape: its surface and particles ``[M, 3]``, world mm."""
    write_mesh(folder / 'template.ply', surface)
    write_particles(folder / 'template.particles', particles)


def _model(
    folder: Path,
    train: list[Surface],
    left_out: list[LeftOut],
    settings: PopulationSettings,
    run: TaskRunner,
    fixed: CorrespondenceModel | None,
    begin: Callable[[], object],
) -> str:
    """Sees to it that the folder holds the model: the fixed one, an earlier one, or a new one.
    Adds training shapes that turn out to be mirrored to ``left_out``.

    Returns:
        The model's fingerprint.
    """
    if fixed is not None:
        arrays = fixed.particles.tobytes(), fixed.shapes.mean.tobytes()
        told = _told_poses(fixed.any_pose, len(fixed.landmarks) > 0)
        digest = fingerprint(CODE_VERSION, fixed.any_pose, *arrays, *told)
        _write_model(folder, fixed)
        return digest
    if not train:
        raise ShapeError(f'{folder}: no training shape can be used; add surfaces or mend them')
    told = _told_poses(settings.any_pose, any(s.landmarks is not None for s in train))
    digest = fingerprint(CODE_VERSION, settings, *[s.digest for s in train], *told)
    earlier = read_record(folder / MODEL_RECORD, digest)
    if earlier is not None and (folder / MODEL_FILE).is_file():
        flipped = [s for s in train if s.source.id in earlier['mirrored']]
        # A lost file brings the whole stage back, which ends in the same particles.
        if all(_earlier(folder, digest, s) is not None for s in train if s not in flipped):
            left_out += [mirrored(s) for s in flipped]
            return digest
    left_out += [mirrored(s) for s in _build_model(folder, train, digest, settings, run, begin)]
    return digest


def _build_model(
    folder: Path,
    train: list[Surface],
    digest: str,
    settings: PopulationSettings,
    run: TaskRunner,
    begin: Callable[[], object],
) -> list[Surface]:
    """Builds the model and writes it with its shapes.

    Returns:
        Training shapes that turned out to be mirrored.
    """
    record, unfinished = folder / MODEL_RECORD, folder / '.unfinished'
    go_on = going_on(run, unfinished, digest)
    flipped = find_mirrored(train, go_on) if settings.any_pose else []
    used = [s for s in train if s not in flipped]
    model, shapes, medoid = build_population(
        [s.mesh for s in used], settings, go_on, common_landmarks(used)
    )
    begin()
    # Were it to stay while the model is replaced, its settings would take the new one for theirs.
    record.unlink(missing_ok=True)
    _write_model(folder, model)
    tasks = [(folder, digest, s, c) for s, c in zip(used, shapes, strict=True)]
    run('quality', _write_one, tasks)
    content = {'mirrored': [s.source.id for s in flipped], 'medoid': used[medoid].source.id}
    write_record(record, digest, content)
    shutil.rmtree(unfinished, ignore_errors=True)
    return flipped


def _told_poses(any_pose: bool, has_landmarks: bool) -> list[str]:
    """Sets apart models of before landmarks told how shapes in any pose are turned."""
    return ['landmarks tell poses'] if any_pose and has_landmarks else []


@lru_cache(maxsize=1)
def _ready_model(folder: Path, digest: str) -> CorrespondenceModel:
    """The folder's model, read once a process: what it computes on first use then serves all."""
    return load_model(folder)


def _register_one(folder: Path, digest: str, surface: Surface) -> RegisteredShape:
    done = _earlier(folder, digest, surface)
    if done is not None:
        if is_in_place(folder, surface.source.id) is None and _lies_in(folder, surface):
            mark_in_place(folder, surface.source.id)
        return done
    model = _ready_model(folder, digest)
    try:
        if model.any_pose and is_mirrored(surface, model.reference):
            return RegisteredShape(surface.source, failure=mirrored(surface).reason)
        shape = model.register(surface.mesh, surface.landmarks)
    except (MassmError, np.linalg.LinAlgError) as error:
        return RegisteredShape(surface.source, failure=f'{surface.source.mesh}: {error}')
    return _write_one(folder, digest, surface, shape)


def _lies_in(folder: Path, surface: Surface) -> bool:
    """Whether a surface is read from where the folder keeps it."""
    return surface.source.mesh.resolve() == mesh_file(folder, surface.source.id).resolve()


def _write_one(
    folder: Path, digest: str, surface: Surface, shape: CorrespondingShape
) -> RegisteredShape:
    model = _ready_model(folder, digest)
    subject = surface.source.id
    posed = surface.mesh.with_vertices(shape.patient_to_world.apply(surface.mesh.vertices))
    quality = measure(shape.world, posed, model.surface, model.warp, model.particles)
    # What an earlier build wrote is nobody's, though it is read now.
    in_place = _lies_in(folder, surface) and is_in_place(folder, subject) is not False
    if not _lies_in(folder, surface):
        # Before the surface itself, so that an interrupted run leaves none that seems another's.
        begin_shape_record(folder, subject)
        write_mesh(mesh_file(folder, subject), surface.mesh)
    write_particles(particle_file(folder, 'local', subject), shape.local)
    write_particles(particle_file(folder, 'world', subject), shape.world)
    content = {
        'patient_to_world': shape.patient_to_world.matrix.tolist(),
        'quality': asdict(quality),
        'remarks': surface.remarks,
        'in_place': in_place,
    }
    write_shape_record(folder, subject, _shape_digest(digest, surface), content)
    return RegisteredShape(surface.source, shape.patient_to_world, quality, surface.remarks)


def _earlier(folder: Path, digest: str, surface: Surface) -> RegisteredShape | None:
    content = read_shape_record(folder, surface.source.id, _shape_digest(digest, surface))
    if content is None:
        return None
    return RegisteredShape(
        surface.source,
        RigidTransform(np.array(content['patient_to_world'])),
        Quality(**content['quality']),
        tuple(content['remarks']),
    )


def _replaces(folder: Path, digest: str, surface: Surface) -> bool:
    """Whether there are particles of a shape that do not hold any more."""
    is_there = particle_file(folder, 'local', surface.source.id).is_file()
    return is_there and _earlier(folder, digest, surface) is None


def _shape_digest(digest: str, surface: Surface) -> str:
    return fingerprint(digest, surface.digest)


def _write_model(folder: Path, model: CorrespondenceModel) -> None:
    with replacing(folder / MODEL_FILE) as temporary:
        model.save(temporary)
    write_template_shape(folder, model.surface, model.particles)
