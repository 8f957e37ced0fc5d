"""Pictures of surfaces without a graphics card: rays cast at the mesh, shaded and coloured."""

from collections.abc import Iterable

import numpy as np
from matplotlib.colors import Colormap

from massm.structures import Mesh

BACKGROUND = 1.0
# Right and up of the picture in RAS+: the patient seen from the front, and from behind.
FRONT = np.array([[-1.0, 0, 0], [0, 0, 1]])
BACK = np.array([[1.0, 0, 0], [0, 0, 1]])


def half_width(shapes: Iterable[np.ndarray], view: np.ndarray) -> float:
    """Half the width, mm, of a picture that holds each of ``shapes`` (vertices ``[V, 3]``)."""
    return 1.05 * max(float(np.abs(_turned(shape, view)[:, :2]).max()) for shape in shapes)


def surface_image(
    mesh: Mesh,
    values: np.ndarray | None,
    colours: Colormap,
    view: np.ndarray,
    half: float,
    pixels: int = 240,
) -> np.ndarray:
    """``[P, P, 3]`` in [0, 1]: ``mesh`` seen along ``view`` from outside, its head up.

    Args:
        values: ``[V]`` in [0, 1], looked up in ``colours``; ``None`` for plain grey.
        view: ``[2, 3]`` unit vectors of the picture's right and up, in the mesh's frame.
        half: half the picture's width, mm; pictures to be compared share it.
    """
    import open3d as o3d

    right, up = view
    toward = np.cross(right, up)
    flat = _turned(mesh.vertices, view)
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(
        o3d.core.Tensor.from_numpy(flat.astype(np.float32)),
        o3d.core.Tensor.from_numpy(mesh.faces.astype(np.uint32)),
    )
    axis = np.linspace(-half, half, pixels, dtype=np.float32)
    rays = np.zeros((pixels, pixels, 6), dtype=np.float32)
    rays[..., 0], rays[..., 1] = axis[None], axis[::-1, None]
    rays[..., 2], rays[..., 5] = 2 * np.abs(flat).max(), -1
    hit = scene.cast_rays(o3d.core.Tensor.from_numpy(rays))
    seen = np.isfinite(hit['t_hit'].numpy())
    corners = mesh.faces[hit['primitive_ids'].numpy()[seen].astype(np.int64)]
    u, v = hit['primitive_uvs'].numpy()[seen].T
    weights = np.stack([1 - u - v, u, v], 1)[..., None]
    normals = (weights * mesh.vertex_normals()[corners]).sum(1)
    light = 0.45 + 0.55 * np.clip(normals @ (toward + 0.5 * up - 0.3 * right) / 1.16, 0, 1)
    shade = np.full((len(corners), 3), 0.8)
    if values is not None:
        shade = colours((weights[..., 0] * values[corners]).sum(1))[:, :3]
    image = np.full((pixels, pixels, 3), BACKGROUND)
    image[seen] = np.clip(shade * light[:, None], 0, 1)
    return image


def _turned(vertices: np.ndarray, view: np.ndarray) -> np.ndarray:
    """Vertices about the middle of their box: right, up, and toward the viewer."""
    right, up = view
    centre = (vertices.max(0) + vertices.min(0)) / 2
    return (vertices - centre) @ np.stack([right, up, np.cross(right, up)]).T
