"""A triangle mesh."""

from dataclasses import dataclass

import numpy as np

# What a mirror does to patient and world axes: left and right.
MIRROR = np.array([-1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles ``faces`` ``[F, 3]`` over ``vertices`` ``[V, 3]`` (mm), counter-clockwise seen
    from outside.

    Raises:
        ValueError: a shape is wrong, a vertex is not finite, or a face names no vertex.
    """

    vertices: np.ndarray
    faces: np.ndarray

    def __post_init__(self) -> None:
        vertices = np.array(self.vertices, dtype=np.float64)
        faces = np.array(self.faces, dtype=np.int64)
        if vertices.ndim != 2 or vertices.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
            raise ValueError(f'a mesh is [V, 3] and [F, 3], got {vertices.shape}, {faces.shape}')
        if not np.isfinite(vertices).all():
            raise ValueError('a mesh vertex is NaN or infinite')
        if len(faces) and (faces.min() < 0 or faces.max() >= len(vertices)):
            raise ValueError(f'a face names vertex {faces.max()} of {len(vertices)}')
        vertices.setflags(write=False)
        faces.setflags(write=False)
        object.__setattr__(self, 'vertices', vertices)
        object.__setattr__(self, 'faces', faces)

    def with_vertices(self, vertices: np.ndarray) -> 'Mesh':
        """The same triangles over other positions."""
        return Mesh(vertices, self.faces)

    def mirrored(self) -> 'Mesh':
        """The mirror image, left for right; its triangles face as these do."""
        return Mesh(self.vertices * MIRROR, self.faces[:, ::-1])

    def face_vectors(self) -> np.ndarray:
        """``[F, 3]`` outward normal of each face, its length twice the face's area."""
        a, b, c = (self.vertices[self.faces[:, i]] for i in range(3))
        return np.cross(b - a, c - a)

    def vertex_normals(self) -> np.ndarray:
        """``[V, 3]`` unit normals, the area-weighted mean of the faces around a vertex."""
        count, corners = len(self.vertices), self.faces.T.ravel()
        faces = np.tile(self.face_vectors(), (3, 1))
        normals = np.stack([np.bincount(corners, faces[:, i], count) for i in range(3)], 1)
        return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)

    def volume(self) -> float:
        """Signed volume, mm³; negative where the faces look inwards."""
        a, b, c = (self.vertices[self.faces[:, i]] for i in range(3))
        return float(np.einsum('ij,ij->', a, np.cross(b, c)) / 6)

    def area(self) -> float:
        """Surface area, mm²."""
        return float(np.linalg.norm(self.face_vectors(), axis=1).sum() / 2)

    def half_extent(self) -> float:
        """Half the longest side of the box around it, mm."""
        return float(np.ptp(self.vertices, axis=0).max() / 2)

    def to_open3d(self):
        """The same surface as Open3D's legacy ``TriangleMesh``."""
        import open3d as o3d

        return o3d.geometry.TriangleMesh(
            o3d.utility.Vector3dVector(self.vertices.copy()),
            o3d.utility.Vector3iVector(self.faces.copy()),
        )
