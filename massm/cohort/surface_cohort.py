"""The surfaces of a population as they come: read, mended, and compared with each other, so that
what cannot belong is left out by name."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from massm.errors import BROKEN_NPZ, MassmError, ShapeError
from massm.io.atomic import replacing
from massm.io.meshes import read_mesh, says_lps
from massm.io.particles import read_particles
from massm.io.records import fingerprint
from massm.shape.medoid import middle_by_volume
from massm.shape.population import TaskRunner
from massm.shape.pose import PoseReference, mirror_ratio
from massm.shape.repair import repair_surface
from massm.shape.surface import surface_distance
from massm.structures import Mesh

# Counted up when reading or mending changes, so that surfaces kept from before are not used.
MENDING_VERSION = 2
# Beyond so many times the usual size, or under its inverse, a surface is something else.
SIZE_RANGE = 5.0
SMALLEST_MM = 1.0
# A landmark may lie off its surface by this share of the usual size (the root of the area).
LANDMARK_SHARE = 0.05
# A surface whose mirror image deforms this much more easily is one. True left atria and spleens lie
# between 1.02 and 2.5.
MIRRORED = 0.85


@dataclass(frozen=True)
class ShapeSource:
    """One shape to put into correspondence: its id, surface file (patient mm), whether it shapes
    the model (a training shape), its landmarks' file, and its ``groups`` (columns of a study)."""

    id: str
    mesh: Path
    train: bool = True
    landmarks: Path | None = None
    groups: dict[str, str] = field(default_factory=dict)


def landmark_file(folder: Path | None, name: str) -> Path | None:
    """The landmarks of ``name`` in ``folder``, where there are any."""
    file = None if folder is None else folder / f'{name}.particles'
    return file if file is not None and file.is_file() else None


def landmark_use(folder: Path, sources: list[ShapeSource]) -> str:
    """How many of the landmark files in ``folder`` are anybody's, in words.

    Raises:
        ShapeError: none is.
    """
    files = {file.resolve() for file in folder.glob('[!.]*.particles')}
    used = {s.landmarks.resolve() for s in sources if s.landmarks is not None}
    others = sorted(file.name for file in files - used)
    if not used:
        found = f'it holds {", ".join(others[:3])}' if others else 'it holds no .particles file'
        raise ShapeError(
            f'{folder}: has landmarks of none of the {len(sources)} shapes; expected '
            f'{sources[0].id}.particles and so on, {found}'
        )
    rest = f'; not used: {", ".join(others[:3])}{", ..." if len(others) > 3 else ""}'
    return f'landmarks of {len(used)} of {len(sources)} shapes' + (rest if others else '')


@dataclass(frozen=True, eq=False)
class Surface:
    """A shape read and mended, with the fingerprint of its files."""

    source: ShapeSource
    mesh: Mesh
    landmarks: np.ndarray | None
    remarks: tuple[str, ...]
    digest: str

    @property
    def landmark_distance(self) -> float:
        """Of the landmark furthest from the surface, mm; 0 without landmarks."""
        if self.landmarks is None or not len(self.landmarks):
            return 0.0
        return float(surface_distance(self.landmarks, self.mesh).max())


@dataclass(frozen=True)
class LeftOut:
    """A shape that cannot be used, and why."""

    source: ShapeSource
    reason: str


def read_cohort(
    sources: list[ShapeSource], mended: Path, run: TaskRunner, usual_area: float | None = None
) -> tuple[list[Surface], list[LeftOut]]:
    """Reads and mends every surface.

    Args:
        mended: folder where mended surfaces are kept for the next run.
        usual_area: mm², of a model the shapes are to join; else the median of their own.

    Raises:
        ShapeError: none can be used, or landmarks lie off their surface.
    """
    found = run('surfaces', _read, [(source, mended) for source in sources])
    surfaces = [f for f in found if isinstance(f, Surface)]
    left_out = [f for f in found if isinstance(f, LeftOut)]
    if not surfaces:
        reasons = '; '.join(f.reason for f in left_out[:3])
        raise ShapeError(f'no surface can be used: {reasons}')
    areas = {s.source.id: s.mesh.area() for s in surfaces}
    usual = np.sqrt(usual_area or float(np.median(list(areas.values()))))
    if usual < SMALLEST_MM:
        raise ShapeError(
            f'{surfaces[0].source.mesh}: the surfaces are {usual:.2g} mm in size; are they in '
            'metres? Bring them to mm'
        )
    _check_landmarks(surfaces, usual)
    fitting = []
    for surface in surfaces:
        ratio = float(np.sqrt(areas[surface.source.id]) / usual)
        if 1 / SIZE_RANGE < ratio < SIZE_RANGE:
            fitting.append(surface)
        else:
            left_out.append(LeftOut(surface.source, _wrong_size(surface, ratio)))
    return fitting, left_out


def _check_landmarks(surfaces: list[Surface], usual: float) -> None:
    """Refuses landmarks that lie off their surface: such are of another frame or subject, and those
    that happen to lie near are no better."""
    far = max(surfaces, key=lambda s: s.landmark_distance)
    if (distance := far.landmark_distance) > LANDMARK_SHARE * usual:
        raise ShapeError(
            f'{far.source.landmarks}: a landmark lies {distance:.1f} mm off the surface '
            f'{far.source.mesh.name}; landmarks are in the frame of the meshes (a file in LPS has '
            'the signs of x and y changed)'
        )


def find_mirrored(surfaces: list[Surface], run: TaskRunner) -> list[Surface]:
    """Surfaces that fit the one of middle volume much better in a mirror.

    For shapes in any pose. Those that share axes may lie mirrored in truth (situs inversus), and
    show as outliers.
    """
    if len(surfaces) < 3:
        return []
    middle = surfaces[middle_by_volume([s.mesh for s in surfaces])]
    reference = PoseReference(middle.mesh, any_pose=True).prepared()
    ratios = run('mirrors', mirror_ratio, [(s.mesh, reference) for s in surfaces])
    found = [s for s, ratio in zip(surfaces, ratios, strict=True) if ratio < MIRRORED]
    # Were the middle one itself the odd one out, most would seem mirrored.
    return found if len(found) <= len(surfaces) / 2 else [s for s in surfaces if s not in found]


def is_mirrored(surface: Surface, reference: PoseReference) -> bool:
    """Whether a surface that comes in any pose fits the reference much better in a mirror."""
    return mirror_ratio(surface.mesh, reference) < MIRRORED


def mirrored(surface: Surface) -> LeftOut:
    """Why a mirrored surface is left out."""
    return LeftOut(
        surface.source,
        f'{surface.source.mesh}: is a mirror image of the others (left for right?); mirror it or '
        'leave it out',
    )


def common_landmarks(surfaces: list[Surface]) -> list[np.ndarray] | None:
    """Each surface's landmarks; ``None`` where there are none.

    Raises:
        ShapeError: some have other numbers of them than others.
    """
    if all(s.landmarks is None for s in surfaces):
        return None
    counts = {s.source.id: 0 if s.landmarks is None else len(s.landmarks) for s in surfaces}
    if len(set(counts.values())) > 1:
        odd = min(counts, key=lambda name: counts[name])
        raise ShapeError(
            f'{odd}: has {counts[odd]} landmarks, others {max(counts.values())}; every training '
            'shape needs the same ones in the same order'
        )
    return [s.landmarks for s in surfaces if s.landmarks is not None]


def _read(source: ShapeSource, mended: Path) -> Surface | LeftOut:
    try:
        mesh, remarks = _mended(source.mesh, mended / f'{source.id}.npz')
        landmarks = None if source.landmarks is None else read_particles(source.landmarks)
        turned = ['turned'] if says_lps(source.mesh) else []  # not what earlier versions made of it
    except MassmError as error:
        return LeftOut(source, str(error))
    digest = fingerprint(source.id, source.mesh, source.landmarks, *turned)
    return Surface(source, mesh, landmarks, tuple(remarks), digest)


def _mended(source: Path, kept: Path) -> tuple[Mesh, list[str]]:
    """The mended surface and what was done: as kept by an earlier run, where the file is the same.

    Raises:
        ShapeError: it cannot be read or mended.
    """
    digest = fingerprint(MENDING_VERSION, source)
    try:
        with np.load(kept, allow_pickle=False) as a:
            if str(a['digest']) == digest:
                return Mesh(a['vertices'], a['faces']), a['remarks'].tolist()
    except BROKEN_NPZ:
        pass
    mesh = read_mesh(source)
    try:
        mesh, remarks = repair_surface(mesh)
    except ShapeError as error:
        raise ShapeError(f'{source}: {error}') from error
    with replacing(kept) as temporary:
        np.savez(
            temporary,
            digest=digest,
            vertices=mesh.vertices,
            faces=mesh.faces.astype(np.int32),
            remarks=np.array(remarks, dtype=str),
        )
    return mesh, list(remarks)


def _wrong_size(surface: Surface, ratio: float) -> str:
    extent = float(np.ptp(surface.mesh.vertices, axis=0).max())
    guess = 'is it in metres' if ratio < 0.01 else 'is it another anatomy or unit'
    return (
        f'{surface.source.mesh}: {extent:.3g} mm long, {ratio:.2g} times the size of the others; '
        f'{guess}? Bring all surfaces to mm'
    )
