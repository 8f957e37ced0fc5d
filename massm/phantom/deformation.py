"""Population variation: smooth modes shared between organs and own to each."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation


@dataclass(frozen=True, eq=False)
class Modes:
    """Displacement modes as Gaussian bumps.

    ``centers`` ``[J, 3]`` mm, ``widths`` ``[J]`` mm, ``vectors`` ``[L, J, 3]`` mm: mode l moves
    bump j by ``vectors[l, j]`` per standard deviation.
    """

    centers: np.ndarray
    widths: np.ndarray
    vectors: np.ndarray

    def displacement(self, points: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """``[N, 3]`` mm at ``points`` ``[N, 3]`` for mode ``scores`` ``[L]``."""
        weights = np.tensordot(scores, self.vectors, axes=1)
        return np.exp(-0.5 * cdist(points, self.centers, 'sqeuclidean') / self.widths**2) @ weights


@dataclass(frozen=True, eq=False)
class Deformation:
    """canonical x -> patient: ``scale rotation (x + u(x)) + translation``, mm."""

    modes: Modes
    scores: np.ndarray
    linear: np.ndarray
    translation: np.ndarray

    def apply(self, points: np.ndarray) -> np.ndarray:
        """Canonical ``[N, 3]`` to patient mm."""
        moved = points + self.modes.displacement(points, self.scores)
        return moved @ self.linear.T + self.translation

    def invert(self, points_mm: np.ndarray, steps: int = 12) -> np.ndarray:
        """Patient ``[N, 3]`` mm to canonical, by fixed-point iteration; exact to about 0.01 mm
        since the displacement's slope stays well under 1."""
        goal = (points_mm - self.translation) @ np.linalg.inv(self.linear).T
        points = goal
        for _ in range(steps):
            points = goal - self.modes.displacement(points, self.scores)
        return points


def population_modes(organ_points: dict[str, np.ndarray], generator: np.random.Generator) -> Modes:
    """Four modes over the whole chest and three of each organ's own.

    Args:
        organ_points: canonical surface points ``[V, 3]`` of each organ, mm.
    """
    groups = [(_lattice(), 85.0, 3.5)] * 4
    for points in organ_points.values():
        size = float(np.sqrt(points.var(0).sum()))
        knots = points[generator.choice(len(points), 4, replace=False)]
        groups += [(knots, 0.95 * size, 0.095 * size)] * 3
    centers = np.concatenate([knots for knots, _, _ in groups])
    widths = np.concatenate([np.full(len(knots), width) for knots, width, _ in groups])
    vectors = np.zeros((len(groups), len(centers), 3))
    start = 0
    for mode, (knots, _, amplitude) in enumerate(groups):
        vectors[mode, start : start + len(knots)] = amplitude * generator.standard_normal(
            (len(knots), 3)
        )
        start += len(knots)
    return Modes(centers, widths, vectors)


def draw_deformation(modes: Modes, generator: np.random.Generator) -> Deformation:
    """One subject: mode scores (normal, cut at 2) and a pose (turn, size, position)."""
    scores = np.clip(generator.standard_normal(len(modes.vectors)), -2, 2)
    turn = Rotation.from_euler('xyz', 4 * generator.standard_normal(3), degrees=True).as_matrix()
    size = 1 + np.clip(0.06 * generator.standard_normal(), -0.12, 0.12)
    return Deformation(modes, scores, size * turn, generator.uniform(-12, 12, 3))


def _lattice() -> np.ndarray:
    axes = [(-90, 0, 90), (-50, 50), (-100, 0, 100)]
    return np.stack(np.meshgrid(*axes, indexing='ij'), -1).reshape(-1, 3).astype(float)
