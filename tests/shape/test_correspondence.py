import numpy as np

from massm.shape.correspondence import fit_template, make_template, warp_template
from massm.shape.gaussian_process import GaussianKernel, low_rank
from massm.shape.surface import folded_fraction, surface_distance


def test_kernels_add_and_low_rank_reproduces_the_covariance(rng):
    points = rng.normal(size=(60, 3)) * 10
    a, b = GaussianKernel(20, 2), GaussianKernel(8, 1)
    kernel = a + b
    assert np.allclose(kernel(points, points), a(points, points) + b(points, points))
    basis = low_rank(kernel, points, 60).basis(points)
    assert np.allclose(basis @ basis.T, kernel(points, points), atol=1e-2)


def test_registration_follows_a_smooth_bend_to_the_right_places(blob):
    template = make_template(blob)
    bend = blob.vertices * (1.15, 1.0, 0.9)
    bend[:, 1] += 0.006 * bend[:, 0] ** 2
    target = blob.with_vertices(bend)
    *_, state = fit_template(template, target)
    still = np.linalg.norm(bend - blob.vertices, axis=1).mean()
    found = warp_template(template, state)
    assert np.linalg.norm(found - bend, axis=1).mean() < 0.5 * still
    assert folded_fraction(blob, found, target) < 0.005
    assert surface_distance(found, target).mean() < 0.3


def test_noise_falls_and_so_does_the_residual(blob):
    template = make_template(blob)
    target = blob.with_vertices(blob.vertices * (1.2, 1, 0.9))
    states = list(fit_template(template, target))
    assert states[-1].noise < states[0].noise
    assert states[-1].residual < 0.5 * states[0].residual
