"""Slices of the scan, and the outlines over them."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from massm.structures import Grid
from massm.visualization.slices import PLANES, draw_slices
from tests.conftest import ball


@pytest.mark.parametrize('spacing', [(6.0, 6.0, 6.0), (0.8, 0.8, 3.0)])
def test_the_scan_lies_under_its_outlines(monkeypatch, spacing):
    """A bright voxel and a ball around it have one middle in every plane."""
    figures = []
    monkeypatch.setattr(Figure, 'savefig', lambda figure, *_, **__: figures.append(figure))
    grid = Grid((40, 42, 38), np.diag([*spacing, 1]))
    volume = np.zeros(grid.shape, dtype=np.float32)
    volume[17, 23, 20] = 1
    middle = grid.to_patient(np.array([17, 23, 20]))
    mesh = ball(12.0)
    surface = mesh.with_vertices(mesh.vertices + middle)
    draw_slices(volume, grid, [surface], np.array([[1.0, 0, 0]]), (0, 1))
    for axes, (plane, _) in zip(figures[0].axes, PLANES.values(), strict=True):
        (image,) = axes.images
        left, right, low, high = image.get_extent()
        values = np.asarray(image.get_array())
        across, along = (
            edge + (np.arange(n) + 0.5) / n * (other - edge)
            for edge, other, n in zip((left, low), (right, high), values.shape[::-1], strict=True)
        )
        drawn = [values.sum(0) @ across, values.sum(1) @ along] / values.sum()
        lines = np.concatenate(axes.collections[0].get_segments())
        outline = (lines.min(0) + lines.max(0)) / 2
        assert np.abs(drawn - outline).max() < 0.1
        assert outline == pytest.approx(middle[list(plane[1:])], abs=0.2)
        assert (right - left) / values.shape[1] <= max(min(spacing), 0.8) and values.max() > 0.5
