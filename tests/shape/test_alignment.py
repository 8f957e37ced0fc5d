import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from massm.shape.alignment import rigid_fit, rigid_fit_batched


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
