"""All that is needed to put one more surface into correspondence with a population."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from massm.errors import BROKEN_NPZ, ShapeError
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
from massm.shape.distortion import rest_shape
from massm.shape.pdm import PointDistributionModel
from massm.shape.pose import PoseReference, pose_of
from massm.shape.sliding import SlidingModel, slide
from massm.shape.surface import TargetSurface
from massm.shape.surface_coordinates import SurfaceCoordinates, locate
from massm.shape.surface_warp import SurfaceWarp
from massm.structures import Mesh, RigidTransform

SLIDING_STEPS = 5


@dataclass(frozen=True, eq=False)
class CorrespondingShape:
    """One subject in correspondence: ``local`` and ``world`` particles ``[M, 3]`` (mm), the
    motion between them, and the working ``vertices`` ``[V, 3]`` in the world frame."""

    local: np.ndarray
    world: np.ndarray
    patient_to_world: RigidTransform
    vertices: np.ndarray


@dataclass(frozen=True, eq=False)
class CorrespondenceModel:
    """A fixed model of one anatomy; the world frame throughout, mm.

    ``shapes``: the working vertices' mean and modes. ``faces`` ``[F, 3]``: their triangles.
    ``layout``: the particles on them. ``particles`` ``[M, 3]``: the mean particles, which world
    particles are aligned to. ``surface``: the mean surface in full resolution. ``weight``: the
    correspondence weight. ``any_pose``: whether surfaces come in any pose. ``landmarks``
    ``[K, 3]``: the mean of those it was built with, if any.
    """

    shapes: PointDistributionModel
    faces: np.ndarray
    layout: SurfaceCoordinates
    particles: np.ndarray
    surface: Mesh
    weight: float
    any_pose: bool
    landmarks: np.ndarray

    @cached_property
    def mean_mesh(self) -> Mesh:
        """The mean of the working vertices as a surface."""
        return Mesh(self.shapes.mean, self.faces)

    @cached_property
    def reference(self) -> PoseReference:
        """What new surfaces are laid over."""
        return PoseReference(self.mean_mesh, self.any_pose, self.landmarks)

    @cached_property
    def template(self) -> RegistrationTemplate:
        """The mean surface with its prior."""
        return make_template(self.mean_mesh)

    @cached_property
    def sliding(self) -> SlidingModel:
        """What sliding needs of the population."""
        return SlidingModel(rest_shape(self.mean_mesh), self.shapes, self.weight)

    @cached_property
    def warp(self) -> SurfaceWarp:
        """From particles to the surface they carry."""
        return SurfaceWarp(self.surface.vertices, self.particles)

    @cached_property
    def landmark_places(self) -> SurfaceCoordinates:
        """Where on the mean surface the landmarks lie."""
        return locate(self.landmarks, self.mean_mesh)

    def register(self, mesh: Mesh, landmarks: np.ndarray | None = None) -> CorrespondingShape:
        """Puts a new surface (patient mm) into correspondence; the model stays as it is.

        Args:
            landmarks: ``[K, 3]`` patient mm, those the model was built with.

        Raises:
            ShapeError: they are more or fewer.
        """
        if landmarks is not None and len(landmarks) != len(self.landmarks):
            raise ShapeError(
                f'has {len(landmarks)} landmarks and the model {len(self.landmarks)}; give the '
                'ones it was built with, in the same order, or none'
            )
        motion = pose_of(mesh, self.reference, landmarks)
        # The pose is better known once the whole surfaces correspond, roughly, then finely.
        for noises in (SHORT_SCHEDULE, FULL_SCHEDULE):
            points = self._registered(mesh, motion, noises, landmarks)
            closer = rigid_fit(points, self.shapes.mean)
            motion = RigidTransform(closer.matrix @ motion.matrix)
        target = TargetSurface(mesh.with_vertices(motion.apply(mesh.vertices)))
        anchor = target.project(closer.apply(points))[0]
        vertices = anchor
        if self.weight > 0:
            vertices = slide(self.sliding, anchor, anchor, target, 2 * SLIDING_STEPS)
        return self.finish(vertices, motion, target)

    def _registered(
        self, mesh: Mesh, motion: RigidTransform, noises: np.ndarray, landmarks: np.ndarray | None
    ) -> np.ndarray:
        """``[V, 3]`` the working vertices registered to ``mesh`` as ``motion`` lays it."""
        pairs = None
        if landmarks is not None and len(landmarks):
            pairs = Landmarks(self.landmark_places, motion.apply(landmarks))
        posed = mesh.with_vertices(motion.apply(mesh.vertices))
        *_, state = fit_template(self.template, posed, pairs, noises)
        return warp_template(self.template, state)

    def finish(
        self, vertices: np.ndarray, motion: RigidTransform, target: TargetSurface
    ) -> CorrespondingShape:
        """The particles of working ``vertices`` on ``target`` (both moved by ``motion``)."""
        on_surface = target.project(self.layout.on(vertices))[0]
        local = motion.inverse().apply(on_surface)
        to_world = rigid_fit(local, self.particles)
        return CorrespondingShape(local, to_world.apply(local), to_world, vertices)

    def save(self, path: Path) -> None:
        """Writes everything as NPZ."""
        np.savez_compressed(
            path,
            mean=self.shapes.mean,
            modes=self.shapes.modes,
            variances=self.shapes.variances,
            faces=self.faces,
            layout_corners=self.layout.corners,
            layout_weights=self.layout.weights,
            particles=self.particles,
            surface_vertices=self.surface.vertices,
            surface_faces=self.surface.faces,
            weight=self.weight,
            any_pose=self.any_pose,
            landmarks=self.landmarks,
        )

    @classmethod
    def load(cls, path: Path) -> 'CorrespondenceModel':
        """Reads what :meth:`save` wrote; nothing in the file can execute.

        Raises:
            ShapeError: the file is missing or is not such a model.
        """
        try:
            with np.load(path, allow_pickle=False) as a:
                return cls(
                    PointDistributionModel(a['mean'], a['modes'], a['variances']),
                    a['faces'],
                    SurfaceCoordinates(a['layout_corners'], a['layout_weights']),
                    a['particles'],
                    Mesh(a['surface_vertices'], a['surface_faces']),
                    float(a['weight']),
                    bool(a['any_pose']),
                    a['landmarks'],
                )
        except BROKEN_NPZ as error:
            raise ShapeError(
                f'{path}: not a correspondence model ({error}); run build_pdm again'
            ) from error
