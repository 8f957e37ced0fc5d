"""Surface samples that know which way is out."""

from dataclasses import dataclass

import numpy as np

from massm.shape.particles import farthest_points
from massm.structures import Mesh


@dataclass(frozen=True, eq=False)
class OrientedPoints:
    """Surface samples: ``points`` ``[N, 3]`` mm and unit ``normals`` ``[N, 3]``."""

    points: np.ndarray
    normals: np.ndarray

    def features(self, normal_weight: float) -> np.ndarray:
        """``[N, 6]``: nearest neighbours here are near in place and alike in normal.
        ``normal_weight`` is the distance (mm) that a right angle costs, divided by √2."""
        return np.hstack([self.points, normal_weight * self.normals])


def oriented_samples(mesh: Mesh, count: int) -> OrientedPoints:
    """``count`` vertices of ``mesh`` far from each other (all, if there are fewer)."""
    chosen = farthest_points(mesh.vertices, min(count, len(mesh.vertices)))
    return OrientedPoints(mesh.vertices[chosen], mesh.vertex_normals()[chosen])
