"""The surface that particles carry."""

import numpy as np
from scipy.linalg import lu_factor, lu_solve
from scipy.spatial.distance import cdist


class SurfaceWarp:
    """The linear map from particles to the surface they carry.

    Biharmonic splines (kernel r, linear part): the map is exact at the particles and for every
    affine motion, and depends on the template alone. The spline's system is factorised once, after
    which a shape costs two products.

    Args:
        vertices: ``[V, 3]`` template vertices, mm.
        particles: ``[M, 3]`` template particles, mm.
    """

    def __init__(self, vertices: np.ndarray, particles: np.ndarray) -> None:
        centre = particles.mean(0)
        scale = float(np.abs(particles - centre).max())
        knots, points = (particles - centre) / scale, (vertices - centre) / scale
        self._count = count = len(knots)
        polynomial = np.column_stack([np.ones(count), knots])
        system = np.zeros((count + 4, count + 4))
        system[:count, :count] = cdist(knots, knots)
        system[:count, count:] = polynomial
        system[count:, :count] = polynomial.T
        self._factors = lu_factor(system, overwrite_a=True, check_finite=False)
        self._basis = np.column_stack([cdist(points, knots), np.ones(len(points)), points])

    def apply(self, particles: np.ndarray) -> np.ndarray:
        """``[V, 3]`` mm: the template's vertices carried by ``particles`` ``[M, 3]``, mm."""
        values = np.vstack([particles, np.zeros((4, 3))])
        return self._basis @ lu_solve(self._factors, values, check_finite=False)
