"""How far a map between surfaces stretches, shears and folds: the energy that keeps particles even.

The symmetric Dirichlet energy of a triangle, ``|J|² + |J⁻¹|²`` with J the map's derivative, is
least for isometries and infinite at a fold, so that descending it spreads stretch evenly and never
turns a triangle over (Smith and Schaefer 2015). A start that has folds is let out of them as in
Garanzha et al. 2021: the determinant d is replaced by ``(d + sqrt(eps² + d²)) / 2``, positive for
every d.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix, diags

from massm.structures import Mesh


@dataclass(frozen=True, eq=False)
class RestShape:
    """The shape distortion is measured from, per triangle of ``faces`` ``[F, 3]``.

    ``inverse`` ``[F, 2, 2]``: the inverse of its edges in its own plane, 1/mm. ``share`` ``[F]``:
    of the total area. ``area``: mm². ``vertices``: how many there are.
    """

    faces: np.ndarray
    inverse: np.ndarray
    share: np.ndarray
    area: float
    vertices: int

    @cached_property
    def scatter(self) -> csr_matrix:
        """``[V, 3F]``: adds what the corners of triangles carry to their vertices."""
        corners = self.faces.T.ravel()
        columns = np.arange(len(corners))
        shape = (self.vertices, len(corners))
        return coo_matrix((np.ones(len(corners)), (corners, columns)), shape).tocsr()

    @cached_property
    def laplacian(self) -> csr_matrix:
        """``[V, V]`` of the triangles' edges, weights of equilateral triangles."""
        pairs = np.vstack([self.faces[:, [0, 1]], self.faces[:, [1, 2]], self.faces[:, [2, 0]]])
        weight = np.full(len(pairs), 0.5 / np.sqrt(3))
        graph = coo_matrix((weight, pairs.T), (self.vertices,) * 2).tocsr()
        graph = graph + graph.T
        return (diags(np.asarray(graph.sum(1)).ravel()) - graph).tocsr()

    @cached_property
    def vertex_share(self) -> np.ndarray:
        """``[V]`` each vertex's share of the area."""
        return np.asarray(self.scatter @ np.tile(self.share / 3, 3)).ravel()


def rest_shape(mesh: Mesh) -> RestShape:
    """Prepares ``mesh`` as the shape to measure distortion from."""
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    base, side = b - a, c - a
    length = np.linalg.norm(base, axis=1)
    along = (side * base).sum(1) / length
    height = np.linalg.norm(np.cross(base, side), axis=1) / length
    height = np.maximum(height, 1e-6 * length)
    inverse = np.zeros((len(mesh.faces), 2, 2))
    inverse[:, 0, 0] = 1 / length
    inverse[:, 0, 1] = -along / (length * height)
    inverse[:, 1, 1] = 1 / height
    area = length * height / 2
    return RestShape(mesh.faces, inverse, area / area.sum(), area.sum(), len(mesh.vertices))


def distortion(
    rest: RestShape, vertices: np.ndarray, normals: np.ndarray, epsilon: float
) -> tuple[float, np.ndarray]:
    """Symmetric Dirichlet energy of the map from ``rest`` to ``vertices`` and its gradient.

    Args:
        vertices: ``[V, 3]``, in units in which an isometry has unit scale.
        normals: ``[F, 3]`` unit, outward, of the surface under each triangle; they say which
            triangles are folded.
        epsilon: softness of the barrier, 0 for the true energy (infinite at a fold).

    Returns:
        The area-weighted mean over the triangles, 4 for an isometry; gradient ``[V, 3]``.
    """
    a, b, c = (vertices[rest.faces[:, i]] for i in range(3))
    edges = np.stack([b - a, c - a], -1)
    jacobian = edges @ rest.inverse
    p, q = jacobian[..., 0], jacobian[..., 1]
    stretch = (p * p).sum(1) + (q * q).sum(1)
    determinant = (normals * np.cross(p, q)).sum(1)
    root = np.sqrt(epsilon**2 + determinant**2)
    positive = np.maximum((determinant + root) / 2, 1e-9)
    # |J⁻¹|² = |J|² / det² for 2x2 matrices.
    energy = stretch * (1 + positive**-2)
    by_determinant = -2 * stretch * positive**-3 * positive / np.maximum(root, 1e-9)
    by_jacobian = 2 * (1 + positive**-2)[:, None, None] * jacobian
    by_jacobian[..., 0] += by_determinant[:, None] * np.cross(q, normals)
    by_jacobian[..., 1] += by_determinant[:, None] * np.cross(normals, p)
    by_edges = rest.share[:, None, None] * by_jacobian @ rest.inverse.transpose(0, 2, 1)
    corners = np.concatenate([-by_edges.sum(-1), by_edges[..., 0], by_edges[..., 1]])
    return float(rest.share @ energy), rest.scatter @ corners
