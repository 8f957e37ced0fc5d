"""Figures and tables of a test run."""

import numpy as np
import pytest
from matplotlib.axes import Axes

from massm.visualization.box_plots import draw_box_plots
from massm.visualization.evaluation_page import write_evaluation_page
from tests.inference.cards import card_of


def test_the_line_of_the_mean_shape_is_a_median(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(Axes, 'hlines', lambda axes, y, *_, **__: lines.append(y))
    monkeypatch.setattr(Axes, 'legend', lambda *_, **__: None)
    key = 'local_rmse_mm'
    rows = [
        {'anatomy': 'spleen', key: 1.0, f'{key}_mean_shape_true_center': error}
        for error in (9.0, 1.0, 4.0, 2.0)
    ]
    draw_box_plots(rows, tmp_path)
    assert lines == [pytest.approx(np.median([9, 1, 4, 2]))]


def test_thousands_of_shapes_are_counted_in_whole_numbers(tmp_path):
    counts = {'found': 1072.0, 'missed': 3.0, 'local_rmse_mm': 2.3456}
    metrics = {'anatomies': {'spleen': counts}, 'mean': counts}
    columns = {'found': 'found', 'missed': 'missed', 'local_rmse_mm': 'RMSE'}
    write_evaluation_page(tmp_path / 'report.html', 'test', metrics, columns, {})
    page = (tmp_path / 'report.html').read_text()
    assert '<td>1072</td><td>3</td><td>2.35</td>' in page
    assert '| spleen | 1072 | 3 | - | 2.35 |' in card_of(['spleen'], metrics)
