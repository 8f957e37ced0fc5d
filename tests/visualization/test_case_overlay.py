"""A tested case in slices."""

from contextlib import nullcontext

import numpy as np
import pytest
from matplotlib.figure import Figure

from massm.evaluation.case_prediction import CasePrediction
from massm.io.nifti import write_volume
from massm.structures import Grid
from massm.visualization.case_overlay import draw_case

MIDDLE = np.array([60.0, 66, 57])
# Of each plane through the middle a bright block: to the patient's right, to the front, to the head
# as far as the plane goes there.
BLOCKS = MIDDLE + np.array([[24, 18, 0], [24, 0, 18], [0, 24, 18]])
# How voxels are stored: along the patient's axes, or turned about and from the other end.
RAS = np.diag([3.0, 3, 3, 1])
TURNED = np.array([[0, -3.0, 0, 117], [0, 0, 3, 0], [-3, 0, 0, 117], [0, 0, 0, 1]])


def block(grid, middle, reach):
    """Voxels within ``reach`` mm of ``middle`` along each axis."""
    indices = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing='ij'), -1)
    away = np.abs(grid.to_patient(indices.reshape(-1, 3)) - middle)
    return (away < reach).all(1).reshape(grid.shape)


def case_in(folder, grid):
    bright = np.any([block(grid, middle, 7) for middle in BLOCKS], axis=0)
    scan, mask = np.where(bright, 300, -1000), block(grid, MIDDLE, 14)
    write_volume(folder / 'ct.nii.gz', scan.astype(np.int16), grid)
    write_volume(folder / 'mask.nii.gz', mask.astype(np.uint8), grid)
    particles = MIDDLE + np.random.default_rng(0).uniform(-14, 14, (1, 900, 3))
    return CasePrediction(
        'case', ['liver'], None, particles, None, folder / 'ct.nii.gz', [folder / 'mask.nii.gz'],
        [None], np.zeros(1),
    )  # fmt: skip


def seen_at(axes, point):
    """A point's place on the picture: 0 at its left and lower side, 1 at the others."""
    return axes.transAxes.inverted().transform(axes.transData.transform(point))


def bright_at(axes):
    (image,) = axes.images
    left, right, low, high = image.get_extent()
    values = np.asarray(image.get_array())
    row, column = np.argwhere(values > 0).mean(0) + 0.5
    height, width = values.shape
    return seen_at(
        axes, (left + column / width * (right - left), low + row / height * (high - low))
    )


@pytest.mark.parametrize('affine', [RAS, TURNED])
def test_it_is_seen_as_radiologists_look(tmp_path, monkeypatch, affine):
    figures = []
    monkeypatch.setattr(Figure, 'savefig', lambda figure, path, **_: figures.append(figure))
    monkeypatch.setattr('massm.visualization.case_overlay.replacing', nullcontext)
    draw_case(case_in(tmp_path, Grid((40, 40, 40), affine)), tmp_path / 'case.png')
    pictures = zip(figures[0].axes, ('RLPA', 'RLIS', 'PAIS'), BLOCKS, strict=True)
    for axes, (left, right, lower, upper), middle in pictures:
        at = {text.get_text(): text.get_position() for text in axes.texts}
        assert at[left][0] < 0.1 and at[right][0] > 0.9 and at[lower][1] < 0.1 < 0.9 < at[upper][1]
        across, up = bright_at(axes)
        assert up > 0.6 and (across < 0.4 if left == 'R' else across > 0.6)
        plane = np.flatnonzero(middle != MIDDLE)
        outline = axes.collections[0].get_paths()[0].vertices
        for drawn in (outline, np.column_stack(axes.lines[0].get_data())):
            assert (drawn.min(0) + drawn.max(0)) / 2 == pytest.approx(MIDDLE[plane], abs=1)
            assert np.ptp(drawn, axis=0) == pytest.approx([27, 27], abs=2)
