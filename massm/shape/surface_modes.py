"""Modes of variation as displacements of a surface, which move it without its particles."""

from dataclasses import dataclass

import numpy as np

from massm.shape.pdm import PointDistributionModel
from massm.shape.surface_warp import SurfaceWarp


@dataclass(frozen=True, eq=False)
class SurfaceModes:
    """The surface ``mean + sum_k z_k displacements[k]``, z in standard deviations.

    Args:
        mean: ``[V, 3]`` vertices of the mean shape, world mm.
        displacements: ``[L, V, 3]`` mm that one standard deviation of a mode moves them by.
        shares: ``[L]`` of the population's variance (of the particles) that each mode carries.
    """

    mean: np.ndarray
    displacements: np.ndarray
    shares: np.ndarray

    @classmethod
    def of(cls, model: PointDistributionModel, warp: SurfaceWarp, count: int) -> 'SurfaceModes':
        """The first ``count`` modes of ``model`` (fewer where it has fewer) on the template's
        surface. As the warp is linear in the particles, a mode's displacement is its own image."""
        mean = warp.apply(model.mean)
        moved = [warp.apply(one) for one in model.truncate(count).displacements]
        total = float(model.variances.sum())
        return cls(
            mean,
            np.stack(moved) if moved else np.zeros((0, *mean.shape)),
            model.variances[:count] / total if total > 0 else np.zeros(len(moved)),
        )

    def instance(self, scores: np.ndarray) -> np.ndarray:
        """``[V, 3]`` world mm of ``scores`` ``[L]`` in standard deviations."""
        return self.mean + np.tensordot(scores, self.displacements, axes=1)
