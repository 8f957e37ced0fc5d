import numpy as np
import pytest
from scipy.optimize import check_grad
from scipy.spatial.transform import Rotation

from massm.shape.distortion import distortion, rest_shape
from massm.structures import Mesh


def face_normals(mesh: Mesh) -> np.ndarray:
    vectors = mesh.face_vectors()
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_isometries_cost_four_and_lie_at_the_bottom(sphere, rng):
    rest = rest_shape(sphere)
    turn = Rotation.random(random_state=0).as_matrix()
    moved = sphere.with_vertices(sphere.vertices @ turn.T + 50)
    energy, gradient = distortion(rest, moved.vertices, face_normals(moved), 0.0)
    assert energy == pytest.approx(4) and np.abs(gradient).max() < 1e-8
    shaken = sphere.with_vertices(sphere.vertices + rng.normal(size=sphere.vertices.shape) * 0.1)
    assert distortion(rest, shaken.vertices, face_normals(shaken), 0.0)[0] > 4


def test_stretch_has_the_energy_its_singular_values_say(sphere):
    """Scaling by s has singular values s, s: 2 s² + 2 / s²."""
    rest = rest_shape(sphere)
    energy, _ = distortion(rest, sphere.vertices * 1.5, face_normals(sphere), 0.0)
    assert energy == pytest.approx(2 * 1.5**2 + 2 / 1.5**2)


@pytest.mark.parametrize('epsilon', [0.0, 0.3])
def test_gradient_is_the_derivative(sphere, rng, epsilon):
    small = Mesh(sphere.vertices, sphere.faces[1000:1060])
    rest, normals = rest_shape(small), face_normals(small)
    start = small.vertices + rng.normal(size=small.vertices.shape) * 0.1

    def energy(x):
        return distortion(rest, x.reshape(-1, 3), normals, epsilon)[0]

    def gradient(x):
        return distortion(rest, x.reshape(-1, 3), normals, epsilon)[1].ravel()

    scale = np.linalg.norm(gradient(start.ravel()))
    assert check_grad(energy, gradient, start.ravel(), epsilon=1e-6) < 1e-4 * scale


def test_a_fold_is_dear_but_finite_where_the_barrier_is_soft(sphere):
    rest, normals = rest_shape(sphere), face_normals(sphere)
    folded = sphere.vertices.copy()
    a, b, c = sphere.faces[200]
    folded[a] = folded[b] + folded[c] - folded[a]
    energy, gradient = distortion(rest, folded, normals, 0.3)
    assert 4.5 < energy < 1e4 and np.isfinite(gradient).all()
