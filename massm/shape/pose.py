"""Laying a surface over a reference, whatever pose it comes in.

Patients of one dataset share the RAS axes, and their shapes keep the pose they have: one start
suffices. Surfaces in any pose start from a cover of the rotations; the most promising poses are
then judged by how much the reference must deform to fit, because round and elongated shapes fit
almost as well turned around. Where landmarks tell how such a surface is turned, theirs is the only
start.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import permutations

import numpy as np

from massm.shape.alignment import rigid_fit
from massm.shape.correspondence import (
    NORMAL_WEIGHT,
    SHORT_SCHEDULE,
    RegistrationTemplate,
    fit_template,
    make_template,
)
from massm.shape.icp import trimmed_icp, trimmed_icp_batched
from massm.shape.oriented_points import OrientedPoints, oriented_samples
from massm.shape.remeshing import uniform_mesh
from massm.structures import Mesh, RigidTransform

SAMPLES = 400
COARSE_SAMPLES = 150
CANDIDATES = 5
APART = np.radians(25)
# Of the reference's half extent: landmarks must lie so far off any one line, root mean square, to
# tell a turn about it.
OFF_A_LINE = 0.1


@dataclass(frozen=True, eq=False)
class PoseReference:
    """What surfaces are laid over: its ``mesh``, whether they come in ``any_pose``, and its
    ``landmarks`` ``[K, 3]`` mm, if any."""

    mesh: Mesh
    any_pose: bool
    landmarks: np.ndarray | None = None

    @cached_property
    def samples(self) -> OrientedPoints:
        """Points of the reference with normals."""
        return oriented_samples(self.mesh, SAMPLES)

    @cached_property
    def coarse_template(self) -> RegistrationTemplate:
        """The reference in few triangles, for trial deformations."""
        return make_template(uniform_mesh(self.mesh, 400), rank=60, nodes=300)

    def turn_told_by(self, landmarks: np.ndarray | None) -> np.ndarray | None:
        """``[3, 3]``: how a surface in any pose must be turned for its ``landmarks`` ``[K, 3]`` mm
        to lie at those of the reference; ``None`` where they do not tell, since there are others
        of them on both, or fewer than three, or they lie in one line."""
        if not self.any_pose or landmarks is None or self.landmarks is None:
            return None
        if len(landmarks) != len(self.landmarks) or len(landmarks) < 3:
            return None
        least = OFF_A_LINE * self.mesh.half_extent()
        if min(_off_a_line(landmarks), _off_a_line(self.landmarks)) < least:
            return None
        return rigid_fit(landmarks, self.landmarks).matrix[:3, :3]

    def prepared(self) -> 'PoseReference':
        """Itself, with everything computed that processes would each compute again."""
        _ = self.samples, self.any_pose and self.coarse_template
        return self


def pose_of(
    mesh: Mesh, reference: PoseReference, landmarks: np.ndarray | None = None
) -> RigidTransform:
    """The rigid motion that lays ``mesh`` over ``reference``, mm; with ``landmarks`` ``[K, 3]`` of
    the surface, mm, that tell how it is turned, the one that they lead to."""
    samples = oriented_samples(mesh, SAMPLES)
    if not reference.any_pose:
        return trimmed_icp(samples, reference.samples, np.eye(3))[0]
    start = reference.turn_told_by(landmarks)
    if start is not None:
        weight = NORMAL_WEIGHT * reference.mesh.half_extent()
        return trimmed_icp(samples, reference.samples, start, weight)[0]
    candidates = candidate_poses(samples, reference)
    efforts = [deformation_effort(mesh, motion, reference) for motion in candidates]
    return candidates[int(np.argmin(efforts))]


def mirror_ratio(mesh: Mesh, reference: PoseReference) -> float:
    """The deformation effort of the mirrored surface over its own: well below 1 where ``mesh`` is
    the mirror image of what the reference shows."""
    effort = [
        deformation_effort(m, pose_of(m, reference), reference) for m in (mesh.mirrored(), mesh)
    ]
    return effort[0] / effort[1]


def candidate_poses(samples: OrientedPoints, reference: PoseReference) -> list[RigidTransform]:
    """The best few poses that differ from each other, from a cover of the rotations."""
    few = OrientedPoints(samples.points[:COARSE_SAMPLES], samples.normals[:COARSE_SAMPLES])
    weight = NORMAL_WEIGHT * reference.mesh.half_extent()
    coarse, residuals = trimmed_icp_batched(
        few, reference.samples, rotation_cover(), weight, steps=15
    )
    chosen: list[np.ndarray] = []
    for i in np.argsort(residuals):
        turn = coarse[i].matrix[:3, :3]
        if all(_angle(turn, other) > APART for other in chosen):
            chosen.append(turn)
    starts = np.stack(chosen[:CANDIDATES])
    return trimmed_icp_batched(samples, reference.samples, starts, weight)[0]


def deformation_effort(mesh: Mesh, motion: RigidTransform, reference: PoseReference) -> float:
    """How improbable the deformation of the reference to the posed ``mesh`` is: squared
    coefficients, plus the squared residual in units of the last noise level."""
    posed = mesh.with_vertices(motion.apply(mesh.vertices))
    *_, state = fit_template(reference.coarse_template, posed, noises=SHORT_SCHEDULE)
    return float((state.coefficients**2).sum() + (state.residual / state.noise) ** 2)


def rotation_cover() -> np.ndarray:
    """``[24, 3, 3]`` the rotations of a cube, identity first: a start within 63 degrees of any."""
    signs = np.array(np.meshgrid([1, -1], [1, -1], [1, -1], indexing='ij')).reshape(3, -1).T
    orders = [np.eye(3)[list(order)] for order in permutations(range(3))]
    turned = np.array([np.diag(sign) @ order for order in orders for sign in signs])
    return turned[np.linalg.det(turned) > 0]


def _off_a_line(points: np.ndarray) -> float:
    """Root mean square distance of ``[K, 3]`` points to the line nearest to them, mm."""
    spread = np.linalg.svd(points - points.mean(0), compute_uv=False)
    return float(np.sqrt((spread[1:] ** 2).sum() / len(points)))


def _angle(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.arccos(np.clip((np.trace(one @ other.T) - 1) / 2, -1, 1)))
