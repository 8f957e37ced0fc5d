"""Gaussian processes over a surface: smooth deformations as a few coefficients.

A kernel is a sum of Gaussians (coarse to fine); ``low_rank`` keeps its leading eigenfunctions
(Nyström), as in Lüthi et al. 2018, *Gaussian Process Morphable Models*. Each coordinate of the
displacement is an independent process with the same scalar kernel.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist


@dataclass(frozen=True)
class GaussianKernel:
    """``amplitude² exp(-|x - y|² / (2 length²))``, both in mm. Kernels add with ``+``."""

    length: float
    amplitude: float

    def __call__(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """``[N, L]`` covariances of ``x`` ``[N, 3]`` and ``y`` ``[L, 3]``, mm²."""
        return self.amplitude**2 * np.exp(-cdist(x, y, 'sqeuclidean') / (2 * self.length**2))

    def __add__(self, other: 'Kernel') -> 'SumKernel':
        return SumKernel((self, other))


@dataclass(frozen=True)
class SumKernel:
    """The sum of its terms."""

    terms: tuple['Kernel', ...]

    def __call__(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """``[N, L]`` covariances of ``x`` ``[N, 3]`` and ``y`` ``[L, 3]``, mm²."""
        result = self.terms[0](x, y)
        for term in self.terms[1:]:
            result = result + term(x, y)
        return result

    def __add__(self, other: 'Kernel') -> 'SumKernel':
        return SumKernel((*self.terms, other))


Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class LowRankGP:
    """A zero-mean displacement process of rank R: u(x) = basis(x) @ coefficients.

    ``basis(x)`` ``[N, R]`` has the standard deviation of each coefficient folded in, so that the
    coefficients ``[R, 3]`` are standard normal a priori.
    """

    kernel: Kernel
    nodes: np.ndarray
    projection: np.ndarray

    def basis(self, points: np.ndarray) -> np.ndarray:
        """``[N, R]`` scaled eigenfunctions at ``points`` ``[N, 3]``, mm."""
        return self.kernel(points, self.nodes) @ self.projection


def low_rank(kernel: Kernel, nodes: np.ndarray, rank: int) -> LowRankGP:
    """Nyström approximation of ``kernel`` from its values at ``nodes`` ``[N, 3]`` (mm)."""
    values, vectors = np.linalg.eigh(kernel(nodes, nodes))
    order = np.argsort(values)[::-1][:rank]
    order = order[values[order] > values[order[0]] * 1e-8]
    return LowRankGP(kernel, nodes, vectors[:, order] / np.sqrt(values[order]))


def coarse_to_fine(size: float) -> SumKernel:
    """The kernel for shapes of ``size`` mm (their radius): four scales, each half the last, with
    amplitudes that shrink as the detail gets finer."""
    lengths = [size * share for share in (1.0, 0.5, 0.25, 0.125)]
    amplitudes = [size * share for share in (0.35, 0.15, 0.06, 0.025)]
    return SumKernel(tuple(GaussianKernel(n, a) for n, a in zip(lengths, amplitudes, strict=True)))
