"""What a result says was seen is what was imaged: padding is none of it."""

import numpy as np
import pytest

from massm.inference.imaged_part import ImagedPart
from massm.structures import Grid
from tests.conftest import ball

# Planes 10 to 29 along the last axis are imaged, the others padded.
GRID = Grid((40, 40, 40), np.array([[-2.0, 0, 0, 40], [0, 2, 0, -40], [0, 0, 2, 0], [0, 0, 0, 1]]))


def scan(padding):
    volume = np.random.default_rng(0).normal(0, 20, GRID.shape).astype(np.float32)
    if padding:
        volume[:, :, :10], volume[:, :, 30:] = -1024, -1024
    return ImagedPart.of(volume, GRID)


def ball_at(height):
    mesh = ball(15)
    return mesh.with_vertices(mesh.vertices + np.array([0, 0, height]))


@pytest.mark.parametrize('middle', [40, 18, 10, -2, 62])
def test_a_ball_is_seen_as_far_as_planes_were_imaged(middle):
    mesh = ball_at(middle)
    seen = scan(padding=True).bounding(mesh).shows(mesh.vertices)
    inside = (mesh.vertices[:, 2] > 19) & (mesh.vertices[:, 2] < 59)
    assert (seen == inside).all()
    assert seen.any() == (middle > 0) and seen.all() == (middle == 40)


def test_without_padding_the_file_decides():
    mesh = ball_at(5)
    seen = scan(padding=False).bounding(mesh).shows(mesh.vertices)
    assert (seen == (mesh.vertices[:, 2] >= -1)).all()


def test_a_tip_that_ends_with_the_tissue_is_whole():
    """A brain without its skull: prediction and dark voxels around differ by a millimetre."""
    mesh = ball_at(33.5)
    padded = scan(padding=True)
    assert padded.bounding(mesh).shows(mesh.vertices).all()
    assert not padded.shows(mesh.vertices).all()
