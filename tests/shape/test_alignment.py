import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from massm.shape.alignment import align_surfaces, rigid_fit, rigid_fit_batched
from massm.structures import Mesh


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.floats(-500, 500))
def test_alignment_undoes_any_rigid_motion(seed, distance):
    generator = np.random.default_rng(seed)
    points = generator.normal(size=(40, 3)) * (30, 20, 10)
    turn = Rotation.random(random_state=seed % 2**32).as_matrix()
    moved = points @ turn.T + distance
    assert np.allclose(rigid_fit(moved, points).apply(moved), points, atol=1e-6)


def test_a_mirrored_shape_is_never_mirrored_back(rng):
    points = rng.normal(size=(40, 3))
    rotation, _ = rigid_fit_batched(torch.as_tensor(points), torch.as_tensor(points * (-1, 1, 1)))
    assert np.isclose(np.linalg.det(rotation), 1)


def test_gradient_of_the_fit_is_right(rng):
    source = torch.tensor(rng.normal(size=(2, 12, 3)), requires_grad=True)
    target = torch.as_tensor(rng.normal(size=(2, 12, 3)))

    def aligned(x):
        rotation, translation = rigid_fit_batched(x, target)
        return x @ rotation.transpose(-1, -2) + translation.unsqueeze(-2)

    assert torch.autograd.gradcheck(aligned, (source,))


def test_icp_brings_different_samplings_together_and_stops_at_the_pose_it_was_given(blob: Mesh):
    turn = Rotation.from_euler('xyz', (14, -16, 18), degrees=True).as_matrix()
    moved = blob.vertices[::2] @ turn.T + (100, -40, 7)
    centred = moved - moved.mean(0) + blob.vertices.mean(0)
    before = np.linalg.norm(centred - blob.vertices[::2], axis=1).mean()
    found = align_surfaces(moved, blob.vertices)
    assert np.linalg.norm(found.apply(moved) - blob.vertices[::2], axis=1).mean() < 0.6 * before
    still = align_surfaces(blob.vertices, blob.vertices)
    assert np.allclose(still.matrix, np.eye(4), atol=1e-6)


def test_the_best_of_several_starts_wins(blob: Mesh):
    half_turn = np.diag([-1.0, -1.0, 1.0])
    moved = blob.vertices @ half_turn.T
    found = align_surfaces(moved, blob.vertices, np.stack([np.eye(3), half_turn]))
    assert np.allclose(found.apply(moved), blob.vertices, atol=1e-3)
