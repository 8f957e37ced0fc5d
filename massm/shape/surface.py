"""Surfaces: warping by particles, distances, and turning a mesh into a mask.

Open3D is imported where it is used, so that particles can be predicted without it.
"""

from functools import cached_property
from typing import Any

import numpy as np

from massm.structures import Grid, Mesh


class TargetSurface:
    """A surface made ready for many nearest-point queries (mm)."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.area = mesh.area()
        # Open3D computes in float32: centring keeps sub-micrometre precision far from the origin.
        self._centre = mesh.vertices.mean(0)
        self._scene = _scene(mesh.with_vertices(mesh.vertices - self._centre))

    @cached_property
    def _normals(self) -> np.ndarray:
        return self.mesh.vertex_normals()

    def locate(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Corners ``[N, 3]`` (vertices) and barycentric weights ``[N, 3]`` of the surface points
        nearest to ``[N, 3]``."""
        import open3d as o3d

        query = o3d.core.Tensor.from_numpy((points - self._centre).astype(np.float32))
        found = self._scene.compute_closest_points(query)
        corners = self.mesh.faces[found['primitive_ids'].numpy().astype(np.int64)]
        u, v = found['primitive_uvs'].numpy().astype(np.float64).T
        weights = np.clip(np.stack([1 - u - v, u, v], 1), 0, 1)
        return corners, weights / weights.sum(1, keepdims=True)

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The surface points nearest to ``[N, 3]`` and their unit normals, smooth across edges."""
        corners, weights = self.locate(points)
        near = np.einsum('kc,kcx->kx', weights, self.mesh.vertices[corners])
        normals = np.einsum('kc,kcx->kx', weights, self._normals[corners])
        return near, normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def surface_distance(points: np.ndarray, mesh: Mesh) -> np.ndarray:
    """Unsigned distance of ``[N, 3]`` points (mm) to the triangles of ``mesh``: ``[N]``, mm."""
    return np.linalg.norm(points - closest_points(points, mesh), axis=1)


def closest_points(points: np.ndarray, mesh: Mesh) -> np.ndarray:
    """The points of ``mesh`` nearest to ``[N, 3]`` points, mm."""
    corners, weights = TargetSurface(mesh).locate(points)
    return np.einsum('kc,kcx->kx', weights, mesh.vertices[corners])


def voxelise(mesh: Mesh, grid: Grid) -> np.ndarray:
    """The voxels of ``grid`` whose centres lie inside the closed ``mesh`` (patient mm).

    Returns:
        ``grid.shape`` bool.
    """
    import open3d as o3d

    mask = np.zeros(grid.shape, dtype=bool)
    vertices_vox = grid.to_voxel(mesh.vertices)
    low = np.maximum(np.floor(vertices_vox.min(0)).astype(int), 0)
    high = np.minimum(np.ceil(vertices_vox.max(0)).astype(int) + 1, grid.shape)
    if (high <= low).any():
        return mask
    axes = [np.arange(a, b) for a, b in zip(low, high, strict=True)]
    query = np.stack(np.meshgrid(*axes, indexing='ij'), -1).astype(np.float32)
    inside = _scene(mesh.with_vertices(vertices_vox)).compute_occupancy(
        o3d.core.Tensor.from_numpy(query)
    )
    mask[low[0] : high[0], low[1] : high[1], low[2] : high[2]] = inside.numpy() > 0.5
    return mask


def _scene(mesh: Mesh) -> Any:
    import open3d as o3d

    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(
        o3d.core.Tensor.from_numpy(mesh.vertices.astype(np.float32)),
        o3d.core.Tensor.from_numpy(mesh.faces.astype(np.uint32)),
    )
    return scene


def folded_fraction(template: Mesh, warped: np.ndarray, target: Mesh) -> float:
    """Share of the warped template's triangles that face against the target's nearest surface.

    Args:
        template: gives the triangles.
        warped: ``[V, 3]`` its vertices on the subject, mm.
        target: the subject's surface, mm.
    """
    import open3d as o3d

    mesh = template.with_vertices(warped)
    centres = mesh.vertices[mesh.faces].mean(1).astype(np.float32)
    scene = _scene(target)
    normals = scene.compute_closest_points(o3d.core.Tensor.from_numpy(centres))[
        'primitive_normals'
    ].numpy()
    return float((np.einsum('ij,ij->i', mesh.face_vectors(), normals) < 0).mean())
