import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from massm.shape.icp import trimmed_icp
from massm.shape.oriented_points import oriented_samples
from massm.shape.pose import PoseReference, mirror_ratio, pose_of, rotation_cover
from massm.structures import Mesh


def turned(mesh: Mesh, rotation: np.ndarray, shift=(100, -40, 7)) -> Mesh:
    return mesh.with_vertices(mesh.vertices @ rotation.T + shift)


def test_icp_brings_different_samplings_together(blob: Mesh):
    turn = Rotation.from_euler('xyz', (14, -16, 18), degrees=True).as_matrix()
    moved = turned(blob, turn)
    source, target = oriented_samples(moved, 300), oriented_samples(blob, 700)
    motion, residual = trimmed_icp(source, target, np.eye(3), normal_weight=5.0)
    assert np.abs(motion.apply(moved.vertices) - blob.vertices).max() < 4
    assert residual < trimmed_icp(source, target, np.diag([-1.0, -1, 1]))[1]


def test_shapes_with_shared_axes_keep_their_pose(blob: Mesh):
    moved = turned(blob, np.eye(3))
    motion = pose_of(moved, PoseReference(blob, any_pose=False))
    assert np.allclose(motion.apply(moved.vertices), blob.vertices, atol=0.1)


def test_the_cover_is_the_rotation_group_of_the_cube():
    cover = rotation_cover()
    assert len(cover) == 24 and np.array_equal(cover[0], np.eye(3))
    assert np.allclose(np.linalg.det(cover), 1)
    assert len({tuple(r.ravel()) for r in cover}) == 24


@pytest.mark.parametrize('seed', range(4))
def test_any_pose_is_undone(blob: Mesh, seed):
    moved = turned(blob, Rotation.random(random_state=seed).as_matrix())
    motion = pose_of(moved, PoseReference(blob, any_pose=True))
    assert np.linalg.norm(motion.apply(moved.vertices) - blob.vertices, axis=1).mean() < 1


@pytest.mark.parametrize('seed', range(3))
def test_landmarks_tell_how_a_round_shape_is_turned(sphere: Mesh, seed):
    egg = sphere.with_vertices(sphere.vertices * (1.6, 1, 1))
    marks = egg.vertices[[50, 300, 700]]
    turn = Rotation.random(random_state=seed).as_matrix() @ np.diag([-1.0, -1, 1])
    moved, own = turned(egg, turn), marks @ turn.T + (100, -40, 7)
    motion = pose_of(moved, PoseReference(egg, any_pose=True, landmarks=marks), own)
    assert np.linalg.norm(motion.apply(own) - marks, axis=1).max() < 4


def test_landmarks_in_one_line_or_of_others_tell_no_turn(sphere: Mesh):
    marks = sphere.vertices[[50, 300, 700]]
    reference = PoseReference(sphere, any_pose=True, landmarks=marks)
    assert np.allclose(reference.turn_told_by(marks + 5), np.eye(3))
    line = np.outer([-1, 0, 1], (10.0, 5, 0))
    for other in (None, line, marks[:2], np.vstack([marks, marks])):
        assert reference.turn_told_by(other) is None
    assert PoseReference(sphere, True).turn_told_by(marks) is None
    assert PoseReference(sphere, False, marks).turn_told_by(marks) is None


def test_a_mirrored_shape_is_told_from_a_true_one(screw: Mesh):
    reference = PoseReference(screw, any_pose=True)
    flipped = Mesh(screw.vertices * (-1, 1, 1), screw.faces[:, ::-1])
    assert (
        mirror_ratio(turned(flipped, Rotation.random(random_state=1).as_matrix()), reference) < 0.7
    )
    assert mirror_ratio(turned(screw, Rotation.random(random_state=2).as_matrix()), reference) > 1.4
