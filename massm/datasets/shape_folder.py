"""One anatomy's shapes on disk: ``shapes/ANATOMY/`` of a dataset, or a folder of its own.

meshes/ID.ply  local/ID.particles  world/ID.particles     every shape
correspondence.npz                                        the fixed model (massm.shape)
template.json  template.ply  template.particles           the mean shape
pdm.npz  stats.json  quality.png  project.swproj          what is made of it
"""

from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from massm.errors import MassmError, ShapeError
from massm.io.atomic import replacing
from massm.io.meshes import read_mesh, write_mesh
from massm.io.particles import read_particles, write_particles
from massm.io.records import fingerprint, read_record, write_record
from massm.shape.correspondence import Landmarks
from massm.shape.correspondence_model import CorrespondenceModel, CorrespondingShape
from massm.shape.population import PopulationSettings, TaskRunner, build_population
from massm.shape.pose import PoseReference, mirror_ratio
from massm.shape.quality import Quality, measure
from massm.shape.repair import repair_surface
from massm.shape.surface_coordinates import locate
from massm.structures import Mesh, RigidTransform

CODE_VERSION = 2
SIZE_RANGE = 5.0
MIRRORED = 0.7


@dataclass(frozen=True)
class ShapeSource:
    """One shape to put into correspondence: its id, surface file (patient mm), whether it shapes
    the model (a training shape), its landmarks' file, and its ``groups`` (columns of a study)."""

    id: str
    mesh: Path
    train: bool = True
    landmarks: Path | None = None
    groups: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class RegisteredShape:
    """What came of one shape: its motion and quality and what had to be mended, or why it was left
    out."""

    source: ShapeSource
    patient_to_world: RigidTransform | None = None
    quality: Quality | None = None
    remarks: tuple[str, ...] = ()
    failure: str | None = None


@dataclass(frozen=True, eq=False)
class _Surface:
    """A shape read and mended, with the fingerprint of its files."""

    source: ShapeSource
    mesh: Mesh
    landmarks: np.ndarray | None
    remarks: tuple[str, ...]
    digest: str


def register_shapes(
    folder: Path,
    sources: list[ShapeSource],
    settings: PopulationSettings,
    run: TaskRunner,
    fixed: CorrespondenceModel | None = None,
) -> list[RegisteredShape]:
    """Puts every shape into correspondence and writes its particles, and the model.

    The model is made of the training shapes, or is ``fixed``, and then all shapes are new to it.
    What an earlier run left is kept where nothing it depends on has changed.

    Raises:
        ShapeError: no training shape can be used.
    """
    surfaces, failed = _read_all(sources, run)
    train = [s for s in surfaces if s.source.train and fixed is None]
    digest = _model(folder, train, failed, settings, run, fixed)
    left_out = {r.source.id for r in failed}
    tasks = [(folder, digest, s) for s in surfaces if s.source.id not in left_out]
    return sorted(run('shapes', _register_one, tasks) + failed, key=lambda r: r.source.id)


def load_model(folder: Path) -> CorrespondenceModel:
    """The fixed model of a shape folder.

    Raises:
        ShapeError: correspondences were not built there.
    """
    path = folder / 'correspondence.npz'
    if not path.is_file():
        raise ShapeError(f'{path}: no such file; run tools/build_pdm.py first')
    return CorrespondenceModel.load(path)


def particle_file(folder: Path, frame: str, subject: str) -> Path:
    """The particles of ``subject`` in ``frame`` (``local`` or ``world``)."""
    return folder / frame / f'{subject}.particles'


def read_world(folder: Path, subjects: list[str]) -> np.ndarray:
    """``[N, M, 3]`` world particles, mm, of ``subjects``."""
    return np.stack([read_particles(particle_file(folder, 'world', s)) for s in subjects])


def _read_all(
    sources: list[ShapeSource], run: TaskRunner
) -> tuple[list[_Surface], list[RegisteredShape]]:
    found = run('surfaces', _read_one, [(source,) for source in sources])
    surfaces = [f for f in found if isinstance(f, _Surface)]
    failed = [f for f in found if isinstance(f, RegisteredShape)]
    if not surfaces:
        reasons = '; '.join(str(f.failure) for f in failed[:3])
        raise ShapeError(f'no surface can be used: {reasons}')
    sizes = {s.source.id: np.sqrt(s.mesh.area()) for s in surfaces}
    middle = float(np.median(list(sizes.values())))
    for surface in list(surfaces):
        ratio = sizes[surface.source.id] / middle
        if not 1 / SIZE_RANGE < ratio < SIZE_RANGE:
            surfaces.remove(surface)
            extent = float(np.ptp(surface.mesh.vertices, axis=0).max())
            unit = 'is it in metres' if ratio < 0.01 else 'is it another anatomy or unit'
            failed.append(
                RegisteredShape(
                    surface.source,
                    failure=f'{surface.source.mesh}: {extent:.3g} mm long, {ratio:.2g} times the '
                    f'size of the others; {unit}? Bring all surfaces to mm',
                )
            )
    return surfaces, failed


def _read_one(source: ShapeSource) -> _Surface | RegisteredShape:
    try:
        mesh = read_mesh(source.mesh)
        try:
            mesh, remarks = repair_surface(mesh)
        except ShapeError as error:
            raise ShapeError(f'{source.mesh}: {error}') from error
        landmarks = None if source.landmarks is None else read_particles(source.landmarks)
    except MassmError as error:
        return RegisteredShape(source, failure=str(error))
    digest = fingerprint(source.id, source.mesh, source.landmarks)
    return _Surface(source, mesh, landmarks, tuple(remarks), digest)


def _model(
    folder: Path,
    train: list[_Surface],
    failed: list[RegisteredShape],
    settings: PopulationSettings,
    run: TaskRunner,
    fixed: CorrespondenceModel | None,
) -> str:
    """Sees to it that the folder holds the model: the fixed one, an earlier one, or a new one.
    Adds training shapes that turn out to be mirrored to ``failed``.

    Returns:
        The model's fingerprint.
    """
    record = folder / '.model.json'
    if fixed is not None:
        digest = fingerprint(CODE_VERSION, fixed.particles.tobytes(), fixed.shapes.mean.tobytes())
        _write_model(folder, fixed)
        return digest
    if not train:
        raise ShapeError(f'{folder}: no training shape can be used; add surfaces or mend them')
    digest = fingerprint(CODE_VERSION, settings, *[s.digest for s in train])
    earlier = read_record(record, digest)
    if earlier is not None and (folder / 'correspondence.npz').is_file():
        mirrored = [s for s in train if s.source.id in earlier['mirrored']]
        # A lost file brings the whole stage back, which ends in the same particles.
        if all(_earlier(folder, digest, s) is not None for s in train if s not in mirrored):
            failed += [_mirrored(s) for s in mirrored]
            return digest
    mirrored = _find_mirrored(train, settings, run)
    failed += [_mirrored(surface) for surface in mirrored]
    used = [s for s in train if s not in mirrored]
    model, shapes, medoid = build_population(
        [s.mesh for s in used], settings, run, _common_landmarks(used)
    )
    _write_model(folder, model)
    tasks = [(folder, digest, s, c) for s, c in zip(used, shapes, strict=True)]
    run('quality', _write_one, tasks)
    content = {'mirrored': [s.source.id for s in mirrored], 'medoid': used[medoid].source.id}
    write_record(record, digest, content)
    return digest


def _find_mirrored(
    train: list[_Surface], settings: PopulationSettings, run: TaskRunner
) -> list[_Surface]:
    """Training shapes that fit the middle one much better in a mirror. Only asked of shapes in any
    pose: those that share axes may lie mirrored in truth (situs inversus), and are outliers."""
    if not settings.any_pose or len(train) < 3:
        return []
    middle = train[int(np.argsort([s.mesh.volume() for s in train])[len(train) // 2])]
    reference = PoseReference(middle.mesh, any_pose=True).prepared()
    ratios = run('mirrors', mirror_ratio, [(s.mesh, reference) for s in train])
    found = [s for s, ratio in zip(train, ratios, strict=True) if ratio < MIRRORED]
    # Were the middle one itself the odd one out, most would seem mirrored.
    return found if len(found) <= len(train) / 2 else [s for s in train if s not in found]


def _mirrored(surface: _Surface) -> RegisteredShape:
    return RegisteredShape(
        surface.source,
        failure=f'{surface.source.mesh}: is a mirror image of the others (left for right?); mirror '
        'it or leave it out',
    )


def _common_landmarks(train: list[_Surface]) -> list[np.ndarray] | None:
    if all(s.landmarks is None for s in train):
        return None
    counts = {s.source.id: 0 if s.landmarks is None else len(s.landmarks) for s in train}
    if len(set(counts.values())) > 1:
        odd = min(counts, key=lambda name: counts[name])
        raise ShapeError(
            f'{odd}: has {counts[odd]} landmarks, others {max(counts.values())}; every training '
            'shape needs the same ones in the same order'
        )
    return [s.landmarks for s in train if s.landmarks is not None]


@lru_cache(maxsize=1)
def _ready_model(folder: Path, digest: str) -> CorrespondenceModel:
    """The folder's model, read once a process: what it computes on first use then serves all."""
    return load_model(folder)


def _register_one(folder: Path, digest: str, surface: _Surface) -> RegisteredShape:
    done = _earlier(folder, digest, surface)
    if done is not None:
        return done
    model = _ready_model(folder, digest)
    try:
        shape = model.register(surface.mesh, _landmarks_of(model, surface))
    except (MassmError, np.linalg.LinAlgError) as error:
        return RegisteredShape(surface.source, failure=f'{surface.source.mesh}: {error}')
    return _write_one(folder, digest, surface, shape)


def _landmarks_of(model: CorrespondenceModel, surface: _Surface) -> Landmarks | None:
    """Pairs for a new surface, where the model was built with as many landmarks."""
    if surface.landmarks is None or len(model.landmarks) != len(surface.landmarks):
        return None
    return Landmarks(locate(model.landmarks, model.mean_mesh), surface.landmarks)


def _write_one(
    folder: Path, digest: str, surface: _Surface, shape: CorrespondingShape
) -> RegisteredShape:
    model = _ready_model(folder, digest)
    subject = surface.source.id
    posed = surface.mesh.with_vertices(shape.patient_to_world.apply(surface.mesh.vertices))
    quality = measure(shape.world, posed, model.surface, model.warp, model.particles)
    mesh_file = folder / 'meshes' / f'{subject}.ply'
    if surface.source.mesh.resolve() != mesh_file.resolve():
        write_mesh(mesh_file, surface.mesh)
    write_particles(particle_file(folder, 'local', subject), shape.local)
    write_particles(particle_file(folder, 'world', subject), shape.world)
    content = {
        'patient_to_world': shape.patient_to_world.matrix.tolist(),
        'quality': asdict(quality),
        'remarks': surface.remarks,
    }
    write_record(_record(folder, subject), _shape_digest(digest, surface), content)
    return RegisteredShape(surface.source, shape.patient_to_world, quality, surface.remarks)


def _earlier(folder: Path, digest: str, surface: _Surface) -> RegisteredShape | None:
    subject = surface.source.id
    content = read_record(_record(folder, subject), _shape_digest(digest, surface))
    files = [particle_file(folder, frame, subject) for frame in ('local', 'world')]
    if content is None or not all(f.is_file() for f in files):
        return None
    return RegisteredShape(
        surface.source,
        RigidTransform(np.array(content['patient_to_world'])),
        Quality(**content['quality']),
        tuple(content['remarks']),
    )


def _record(folder: Path, subject: str) -> Path:
    return folder / 'local' / f'.{subject}.json'


def _shape_digest(digest: str, surface: _Surface) -> str:
    return fingerprint(digest, surface.digest)


def _write_model(folder: Path, model: CorrespondenceModel) -> None:
    with replacing(folder / 'correspondence.npz') as temporary:
        model.save(temporary)
    write_mesh(folder / 'template.ply', model.surface)
    write_particles(folder / 'template.particles', model.particles)
