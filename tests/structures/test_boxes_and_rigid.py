import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from massm.structures import Boxes3D, Frame, RigidTransform


def test_box_center_is_the_middle_of_the_extent_not_the_mean():
    points = torch.tensor([[0.0, 0, 0], [1, 0, 0], [10, 4, 2]])
    assert Boxes3D.from_points(points).tensor.tolist() == [5, 2, 1, 5, 2, 1]


def test_iou_of_half_overlapping_cubes_is_a_third():
    a, b = torch.tensor([0.0, 0, 0, 1, 1, 1]), torch.tensor([1.0, 0, 0, 1, 1, 1])
    assert Boxes3D(a).iou(Boxes3D(b)).item() == pytest.approx(1 / 3)
    assert Boxes3D(a).iou(Boxes3D(torch.tensor([5.0, 5, 5, 1, 1, 1]))).item() < 1e-6


def test_rigid_transform_inverts_composes_and_keeps_its_frames(rng):
    rotation = Rotation.random(random_state=0).as_matrix()
    motion = RigidTransform.from_parts(rotation, np.array([1.0, 2, 3]))
    points = rng.normal(size=(10, 3))
    assert np.allclose(motion.inverse().apply(motion.apply(points)), points)
    back = motion.inverse().after(motion)
    assert (back.source, back.target) == (Frame.PATIENT, Frame.PATIENT)
    with pytest.raises(ValueError, match='cannot go on'):
        motion.after(motion)


def test_mirrors_are_not_rigid():
    with pytest.raises(ValueError, match='mirror'):
        RigidTransform(np.diag([-1.0, 1, 1, 1]))
