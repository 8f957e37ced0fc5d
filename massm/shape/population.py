"""From the surfaces of a population to a correspondence model.

Poses, then two rounds of registration, first of the medoid and then of the mean it leads to, which
removes the bias of the template; then rounds in which every subject's points slide under the
population's model and the model follows. Every round costs one task a subject, so that time is
linear in subjects.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import trimesh
from scipy.spatial.transform import Rotation

from massm.shape.alignment import rigid_fit
from massm.shape.correspondence import (
    FULL_SCHEDULE,
    SHORT_SCHEDULE,
    Landmarks,
    RegistrationTemplate,
    fit_template,
    make_template,
    warp_template,
)
from massm.shape.correspondence_model import (
    SLIDING_STEPS,
    CorrespondenceModel,
    CorrespondingShape,
)
from massm.shape.distortion import rest_shape
from massm.shape.medoid import choose_medoid, middle_by_volume
from massm.shape.population_settings import PopulationSettings
from massm.shape.pose import PoseReference, deformation_effort, pose_of
from massm.shape.remeshing import uniform_mesh
from massm.shape.sliding import SlidingModel, slide, weighted_model
from massm.shape.surface import TargetSurface
from massm.shape.surface_coordinates import SurfaceCoordinates, even_coordinates, locate
from massm.structures import Mesh, RigidTransform

# Runs a function over many argument tuples, in order, perhaps in parallel; the caller's business.
TaskRunner = Callable[[str, Callable[..., Any], Sequence[tuple]], list[Any]]


# A pose is looked at again when deforming to it is this many times harder than is usual.
HARD = 1.2


@dataclass(frozen=True, eq=False)
class Member:
    """One subject on the way: its surface moved by ``motion`` into the world frame, the working
    vertices ``points`` ``[V, 3]`` on it, and its landmarks ``[K, 3]``, moved too."""

    mesh: Mesh
    motion: RigidTransform
    points: np.ndarray
    landmarks: np.ndarray | None = None

    def moved(self, step: RigidTransform) -> 'Member':
        """The same subject after one more rigid step."""
        return Member(
            self.mesh.with_vertices(step.apply(self.mesh.vertices)),
            RigidTransform(step.matrix @ self.motion.matrix),
            step.apply(self.points),
            None if self.landmarks is None else step.apply(self.landmarks),
        )


def build_population(
    meshes: Sequence[Mesh],
    settings: PopulationSettings,
    run: TaskRunner,
    landmarks: Sequence[np.ndarray] | None = None,
) -> tuple[CorrespondenceModel, list[CorrespondingShape], int]:
    """Correspondences of a population.

    Args:
        meshes: closed surfaces, patient mm.
        run: carries out the tasks of a stage, whose name comes first.
        landmarks: ``[K, 3]`` of each subject, patient mm, that are to coincide.

    Returns:
        The model, each subject's particles in the order given, and which one is the medoid.
    """
    members, medoid = _lay_over_each_other(meshes, settings, run, landmarks)
    middle = members[medoid].mesh
    template = uniform_mesh(middle, settings.working_vertices(middle))
    members, mean = _register(members, template, SHORT_SCHEDULE, run)
    members, mean = _register(members, mean, FULL_SCHEDULE, run)
    if settings.weight > 0:
        anchors = [m.points for m in members]
        for _ in range(settings.rounds):
            members, mean, anchors = _slide(members, anchors, mean, settings.weight, run)
    return *_finish(members, mean, settings, run), medoid


def serially(label: str, function: Callable[..., Any], tasks: Sequence[tuple]) -> list[Any]:
    """The simplest :data:`TaskRunner`."""
    return [function(*task) for task in tasks]


def _lay_over_each_other(
    meshes: Sequence[Mesh],
    settings: PopulationSettings,
    run: TaskRunner,
    landmarks: Sequence[np.ndarray] | None,
) -> tuple[list[Member], int]:
    """Every subject in the medoid's own axes, centred on it, and which one the medoid is."""
    # Over the shape of the middle volume first; that leads to the medoid, which is typical.
    reference = middle_by_volume(meshes)
    marks = landmarks if landmarks is not None else [None] * len(meshes)
    motions = _poses(meshes, reference, settings, run, marks)
    posed = [m.with_vertices(t.apply(m.vertices)) for m, t in zip(meshes, motions, strict=True)]
    medoid = choose_medoid(posed)
    if medoid != reference and settings.any_pose:
        motions = _check_poses(meshes, motions, medoid, run, marks)
    centre = np.eye(4)
    centre[:3, 3] = -meshes[medoid].vertices.mean(0)
    back = centre @ np.linalg.inv(motions[medoid].matrix)
    members = []
    for i, (mesh, motion) in enumerate(zip(meshes, motions, strict=True)):
        start = Member(mesh, RigidTransform(np.eye(4)), np.zeros((0, 3)))
        if landmarks is not None:
            start = replace(start, landmarks=landmarks[i])
        members.append(start.moved(RigidTransform(back @ motion.matrix)))
    return members, medoid


def _poses(
    meshes: Sequence[Mesh],
    reference: int,
    settings: PopulationSettings,
    run: TaskRunner,
    marks: Sequence[np.ndarray | None],
) -> list[RigidTransform]:
    laid_over = PoseReference(meshes[reference], settings.any_pose, marks[reference]).prepared()
    tasks = [(mesh, laid_over, own) for mesh, own in zip(meshes, marks, strict=True)]
    return run('poses', pose_of, tasks)


def _check_poses(
    meshes: Sequence[Mesh],
    motions: list[RigidTransform],
    medoid: int,
    run: TaskRunner,
    marks: Sequence[np.ndarray | None],
) -> list[RigidTransform]:
    """Looks again, with the medoid to lie over, at shapes that seem hard to deform into each other:
    the first reference may have been odd. Not at those that landmarks turned."""
    reference = PoseReference(meshes[medoid], True, marks[medoid]).prepared()
    back = motions[medoid].inverse().matrix
    motions = [RigidTransform(back @ motion.matrix) for motion in motions]
    tasks = [(mesh, t, reference) for mesh, t in zip(meshes, motions, strict=True)]
    efforts = np.array(run('poses', deformation_effort, tasks))
    told = np.array([reference.turn_told_by(own) is not None for own in marks])
    hard = np.flatnonzero((efforts > HARD * np.median(efforts)) & ~told)
    found = run('poses', pose_of, [(meshes[i], reference) for i in hard])
    for i, motion in zip(hard, found, strict=True):
        if deformation_effort(meshes[i], motion, reference) < efforts[i]:
            motions[i] = motion
    return motions


def _register(
    members: list[Member], template: Mesh, noises: np.ndarray, run: TaskRunner
) -> tuple[list[Member], Mesh]:
    """Registers ``template`` to every subject; the members aligned anew, and their mean."""
    prepared = make_template(template)
    marks = _mean_landmarks(members)
    pins = locate(marks, template) if len(marks) else None
    points = run('registration', _registered, [(prepared, m, pins, noises) for m in members])
    members = [replace(m, points=p) for m, p in zip(members, points, strict=True)]
    return _align(members, template)


def _mean_landmarks(members: list[Member]) -> np.ndarray:
    """``[K, 3]`` mm, empty where the subjects have none."""
    marks = [m.landmarks for m in members if m.landmarks is not None]
    return np.mean(marks, axis=0) if marks else np.zeros((0, 3))


def _registered(
    template: RegistrationTemplate,
    member: Member,
    pins: SurfaceCoordinates | None,
    noises: np.ndarray,
) -> np.ndarray:
    landmarks = None
    if pins is not None and member.landmarks is not None:
        landmarks = Landmarks(pins, member.landmarks)
    *_, state = fit_template(template, member.mesh, landmarks, noises)
    return TargetSurface(member.mesh).project(warp_template(template, state))[0]


def _align(members: list[Member], reference: Mesh, rounds: int = 3) -> tuple[list[Member], Mesh]:
    """Generalised Procrustes alignment without scaling: every subject to the mean of all; the mean
    itself stays aligned to ``reference``, so that the frame does not drift."""
    mean = reference.vertices
    for _ in range(rounds):
        members = [m.moved(rigid_fit(m.points, mean)) for m in members]
        raw = np.mean([m.points for m in members], axis=0)
        mean = rigid_fit(raw, reference.vertices).apply(raw)
    return members, reference.with_vertices(mean)


def _slide(
    members: list[Member], anchors: list[np.ndarray], mean: Mesh, weight: float, run: TaskRunner
) -> tuple[list[Member], Mesh, list[np.ndarray]]:
    """One round: the model of the points as they are, then every subject under it."""
    rest = rest_shape(mean)
    shapes = weighted_model(np.stack([m.points for m in members]), rest.vertex_share)
    model = SlidingModel(rest, shapes, weight)
    tasks = [(model, a, m) for a, m in zip(anchors, members, strict=True)]
    points = run('population', _slid, tasks)
    # The anchors move with their subjects when those are aligned again.
    before = [replace(m, points=p) for m, p in zip(members, points, strict=True)]
    after, mean = _align(before, mean)
    steps = [rigid_fit(b.points, a.points) for b, a in zip(before, after, strict=True)]
    return after, mean, [t.apply(a) for t, a in zip(steps, anchors, strict=True)]


def _slid(model: SlidingModel, anchor: np.ndarray, member: Member) -> np.ndarray:
    return slide(model, anchor, member.points, TargetSurface(member.mesh), SLIDING_STEPS)


def _finish(
    members: list[Member], mean: Mesh, settings: PopulationSettings, run: TaskRunner
) -> tuple[CorrespondenceModel, list[CorrespondingShape]]:
    """Lays the particles, aligns them, and puts the model together."""
    layout = even_coordinates(mean, settings.particles, settings.seed)
    fine = trimesh.Trimesh(mean.vertices, mean.faces, process=False).subdivide()
    detail = locate(fine.vertices, mean)
    found = run('particles', _particles_and_detail, [(m, layout, detail) for m in members])
    surface = np.mean([d for _, d in found], axis=0)
    # From here on the particles alone define the world frame.
    particles, steps = _particle_frame([p for p, _ in found])
    surface = surface - np.mean([p for p, _ in found], axis=(0, 1))
    members = [m.moved(t) for m, t in zip(members, steps, strict=True)]
    if not settings.any_pose:
        upright = _to_mean_axes([m.motion for m in members])
        members = [m.moved(upright) for m in members]
        particles, surface = upright.apply(particles), upright.apply(surface)
    share = rest_shape(mean).vertex_share
    model = CorrespondenceModel(
        weighted_model(np.stack([m.points for m in members]), share),
        mean.faces,
        layout,
        particles,
        Mesh(surface, fine.faces),
        settings.weight,
        settings.any_pose,
        _mean_landmarks(members),
    )
    return model, [model.finish(m.points, m.motion, TargetSurface(m.mesh)) for m in members]


def _particle_frame(
    shapes: list[np.ndarray], rounds: int = 5
) -> tuple[np.ndarray, list[RigidTransform]]:
    """The mean ``[M, 3]`` of particles aligned to it, its centroid at the origin, and each shape's
    step to it."""
    mean = np.mean(shapes, axis=0) - np.mean(shapes, axis=(0, 1))
    for _ in range(rounds):
        steps = [rigid_fit(shape, mean) for shape in shapes]
        raw = np.mean([t.apply(s) for t, s in zip(steps, shapes, strict=True)], axis=0)
        mean = rigid_fit(raw, mean).apply(raw)
    return mean, steps


def _to_mean_axes(motions: list[RigidTransform]) -> RigidTransform:
    """The turn after which ``motions`` (patient to world) turn the mean patient not at all: a new
    surface and a fit begin in patient axes, which are those of no single subject."""
    mean = Rotation.from_matrix(np.stack([t.matrix[:3, :3] for t in motions])).mean()
    return RigidTransform.from_parts(mean.inv().as_matrix(), np.zeros(3))


def _particles_and_detail(
    member: Member, layout: SurfaceCoordinates, detail: SurfaceCoordinates
) -> tuple[np.ndarray, np.ndarray]:
    target = TargetSurface(member.mesh)
    return target.project(layout.on(member.points))[0], target.project(detail.on(member.points))[0]
