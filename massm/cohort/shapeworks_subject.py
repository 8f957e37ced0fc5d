"""One subject of a ShapeWorks project, looked at before anything is written."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from massm.cohort.field_of_view import juts_out
from massm.errors import ShapeError
from massm.io.meshes import read_mesh
from massm.io.nifti import read_mask, volume_grid
from massm.io.particles import read_particles
from massm.io.shapeworks import Project, ProjectDomain, ProjectSubject
from massm.shape.alignment import rigid_fit
from massm.structures import Mesh, RigidTransform

# ShapeWorks writes matrices with six decimals: a hundredth of a millimetre in a patient.
AGREEMENT_MM = 0.05
# So many of a shape's particles lie so near to the mask of the same subject.
AT_MASK_SHARE, AT_MASK_VOXELS = 0.5, 2.0
# A mirrored fit this much nearer than the rigid one: the world particles are a mirror image.
MIRRORED = 0.2
# From LPS to RAS and back.
TURNED = np.array([-1.0, -1.0, 1.0])
RAS_WANTED = 'make the project of meshes in the frame of the scans (RAS mm)'
LPS_FOUND = 'it looks to be in LPS: make it of meshes whose x and y are negated'


@dataclass(frozen=True, eq=False)
class ProjectShape:
    """One shape: its row, its files, the rigid motion from local to world particles, and a remark
    where the world particles are not those of the project but the local ones so moved."""

    subject: ProjectSubject
    domain: ProjectDomain
    mesh_file: Path
    local_file: Path
    world_file: Path
    motion: RigidTransform
    remark: str | None = None

    def mesh(self) -> Mesh:
        """Its surface, mm, in the frame of the particles."""
        return read_mesh(self.mesh_file, as_stored=True)

    def world(self) -> np.ndarray:
        """``[M, 3]`` mm."""
        if self.remark is None:
            return read_particles(self.world_file)
        return self.motion.apply(read_particles(self.local_file))


def check_shape(project: Project, subject: ProjectSubject, domain: str) -> ProjectShape:
    """Reads everything of one shape once.

    Raises:
        ShapeError: a file is missing or broken, or the world particles are a mirror image.
    """
    entry = subject.domains[domain]
    missing = [k for k in ('mesh', 'local', 'world') if getattr(entry, k) is None]
    if missing:
        raise ShapeError(
            f'{project.path}: {subject.name} has no {missing[0]} file; groom and optimise the '
            'project in ShapeWorks first'
        )
    mesh, local_file, world_file = (
        project.file(str(getattr(entry, kind))) for kind in ('mesh', 'local', 'world')
    )
    local = read_particles(local_file)
    world = read_particles(world_file, len(local))
    read_mesh(mesh, as_stored=True)
    motion, remark = _motion(project, subject, entry.local_to_world, local, world)
    return ProjectShape(subject, entry, mesh, local_file, world_file, motion, remark)


def check_place(project: Project, shape: ProjectShape, mask_file: Path) -> None:
    """Refuses a shape that lies elsewhere than its subject's mask in a dataset.

    Raises:
        ShapeError: see above.
    """
    mask, grid = read_mask(mask_file)
    at_mask = cKDTree(np.argwhere(mask))
    local = read_particles(shape.local_file)
    if _is_at(at_mask, grid.to_voxel(local)):
        return
    why = LPS_FOUND if _is_at(at_mask, grid.to_voxel(local * TURNED)) else RAS_WANTED
    raise ShapeError(
        f'{project.path}: the particles of {shape.subject.name} lie off its mask {mask_file}; {why}'
    )


def check_in_scan(project: Project, shape: ProjectShape, image_file: Path) -> None:
    """Refuses a shape that lies outside of its subject's prepared image: no network could be
    trained on it.

    Raises:
        ShapeError: see above.
    """
    grid = volume_grid(image_file)
    local = read_particles(shape.local_file)
    if not juts_out(local, grid):
        return
    why = RAS_WANTED if juts_out(local * TURNED, grid) else LPS_FOUND
    raise ShapeError(
        f'{project.path}: particles of {shape.subject.name} lie outside of its scan {image_file}; '
        f'{why}, or exclude the subject'
    )


def _is_at(mask: cKDTree, voxels: np.ndarray) -> bool:
    distances, _ = mask.query(voxels)
    return bool((distances <= AT_MASK_VOXELS).mean() >= AT_MASK_SHARE)


def _motion(
    project: Project,
    subject: ProjectSubject,
    matrix: np.ndarray,
    local: np.ndarray,
    world: np.ndarray,
) -> tuple[RigidTransform, str | None]:
    off = np.abs(local @ matrix[:3, :3].T + matrix[:3, 3] - world).max()
    if off < AGREEMENT_MM and (clean := _orthonormal(matrix)) is not None:
        return RigidTransform(clean), None
    motion = rigid_fit(local, world)
    distance = _mean_distance(motion.apply(local), world)
    flipped = local * (-1.0, 1.0, 1.0)
    mirrored = _mean_distance(rigid_fit(flipped, world).apply(flipped), world)
    if mirrored < MIRRORED * distance and distance > AGREEMENT_MM:
        raise ShapeError(
            f'{project.path}: {subject.name} is reflected on the way from local to world particles '
            f'({distance:.1f} mm off any rigid motion); mirror its mesh before grooming instead, '
            'or leave it out'
        )
    return motion, (
        f'{subject.name}: world particles are not its local ones moved rigidly by the '
        f"project's matrices (scaled?); taken as the nearest rigid motion, {distance:.2g} mm off"
    )


def _mean_distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b, axis=1).mean())


def _orthonormal(matrix: np.ndarray) -> np.ndarray | None:
    """``matrix`` with its rotation's rounding taken out; ``None`` where it is no rotation."""
    u, scales, vh = np.linalg.svd(matrix[:3, :3])
    if np.abs(scales - 1).max() > 1e-3 or np.linalg.det(u @ vh) < 0:
        return None
    clean = matrix.copy()
    clean[:3, :3] = u @ vh
    return clean
