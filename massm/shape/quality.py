"""How good one subject's correspondences are, and which subjects to look at."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree
from scipy.special import betaincc

from massm.shape.metrics import hausdorff95
from massm.shape.particles import spacing_variation
from massm.shape.pdm import PointDistributionModel
from massm.shape.statistics import compactness
from massm.shape.surface import folded_fraction, surface_distance
from massm.shape.surface_warp import SurfaceWarp
from massm.structures import Mesh

NEIGHBOURS = 6
TORN = 3.0
# Of the variance, what the modes explain by which shapes are judged.
JUDGED_SHARE = 0.95


@dataclass(frozen=True)
class Quality:
    """One subject's particles.

    ``surface_distance_mm``: mean of both ways between its surface and the template warped by its
    particles; ``hausdorff95_mm``: the larger 95th percentile. ``particle_distance_mm``: the
    farthest particle from the surface. ``spacing_cv``: variation of the distance to the nearest
    neighbour. ``folded``: share of the warped template's triangles that face against the surface.
    ``swaps``: particles whose template neighbours lie far apart here.
    """

    surface_distance_mm: float
    hausdorff95_mm: float
    particle_distance_mm: float
    spacing_cv: float
    folded: float
    swaps: int


def measure(
    particles: np.ndarray, surface: Mesh, template: Mesh, warp: SurfaceWarp, reference: np.ndarray
) -> Quality:
    """Quality of ``particles`` ``[M, 3]`` on ``surface`` (mm, one frame).

    Args:
        template: the template's surface.
        warp: from particles to the template's vertices.
        reference: ``[M, 3]`` the template's particles, mm.
    """
    warped = template.with_vertices(warp.apply(particles))
    forward = surface_distance(warped.vertices, surface)
    backward = surface_distance(surface.vertices, warped)
    return Quality(
        float((forward.mean() + backward.mean()) / 2),
        hausdorff95(forward, backward),
        float(surface_distance(particles, surface).max()),
        spacing_variation(particles),
        folded_fraction(template, warped.vertices, surface),
        int(suspected_swaps(particles, reference).sum()),
    )


def suspected_swaps(particles: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """``[M]`` bool: particles whose neighbours on the template are torn from them.

    The median distance to the template's six neighbours is compared with what the template says it
    is, in units of the median such ratio over the shape; above 3 is torn.
    """
    count = min(NEIGHBOURS, len(particles) - 1)
    distance, neighbour = cKDTree(reference).query(reference, k=count + 1)
    here = np.linalg.norm(particles[neighbour[:, 1:]] - particles[:, None], axis=-1)
    ratio = np.median(here / np.maximum(distance[:, 1:], 1e-9), axis=1)
    return ratio > TORN * np.median(ratio)


def judging_model(
    model: PointDistributionModel, shapes: int, share: float = JUDGED_SHARE
) -> PointDistributionModel:
    """The first modes of ``model``, by which it is judged how usual a shape is.

    By all N - 1 modes each of the ``shapes`` N that made the model would be as far from the mean as
    any other, (N - 1) / sqrt(N), since they are as many as the modes can tell apart.

    Args:
        share: of the variance that the modes explain; there are at most N / 3.
    """
    enough = int(np.searchsorted(compactness(model), share)) + 1
    return model.truncate(min(enough, len(model), shapes // 3))


def outliers(world: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far each training shape is from the others.

    Args:
        world: ``[N, M, 3]``, mm.

    Returns:
        ``[N]`` Mahalanobis distance by the modes of :func:`judging_model`, and ``[N]`` bool where
        one so large is expected less than once in twenty populations. The shape itself is among
        those that make the model, so that its squared distance follows a beta distribution
        (Gnanadesikan and Kettenring 1972).
    """
    model = PointDistributionModel.fit(world)
    count = len(world)
    if len(model) == 0 or count < 6:
        return np.zeros(count), np.zeros(count, dtype=bool)
    judging = judging_model(model, count)
    distance, modes = judging.mahalanobis(world), len(judging)
    relative = distance**2 * count / (count - 1) ** 2
    tail = betaincc(modes / 2, (count - modes - 1) / 2, np.minimum(relative, 1))
    return distance, tail < 0.05 / count
