"""A test run as one HTML page: the table of errors, box plots, best and worst case."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from massm.evaluation.case_surfaces import CaseSurface
from massm.evaluation.summary import shown, with_mean
from massm.io.atomic import write_text
from massm.visualization.colors import anatomy_colors
from massm.visualization.names import label
from massm.visualization.page import embedded_photo, html_page, html_table, html_viewer
from massm.visualization.scene import Measure, Surface, html_scene
from massm.visualization.thinning import thin

FIGURES = {
    'rmse': 'Error of local and world particles',
    'surface': 'Distance between surfaces',
    'heat_maps': 'Best and worst case of each anatomy, coloured by distance to the reference',
    'case_best': 'Best case in slices',
    'case_worst': 'Worst case in slices',
}


def write_evaluation_page(
    path: Path,
    title: str,
    metrics: dict[str, dict],
    columns: dict[str, str],
    cases: Mapping[str, Sequence[CaseSurface]],
) -> None:
    """Writes ``path`` from the figures beside it and the contents of ``metrics.json``.

    Args:
        columns: which measures, with their headings.
        cases: surfaces to turn and toggle, by the heading of their case.
    """
    body = [f'<h1>{html.escape(title)}</h1>', _table(metrics, columns)]
    names = list(metrics['anatomies'])
    colors = dict(zip(names, anatomy_colors(len(names)), strict=True))
    count = sum(map(len, cases.values()))
    for i, (heading, surfaces) in enumerate(cases.items()):
        drawn = [_surface(s, colors[s.anatomy], count) for s in surfaces]
        distances = [s.distance_mm for s in surfaces]
        measure = Measure('distance to the reference', distances, signed=False)
        scene = html_scene(drawn, [measure], f'scene{i}', shown=0)
        body.append(f'<h2>{html.escape(heading)}</h2>{scene}')
    if cases:
        body.append(html_viewer())
    for stem, heading in FIGURES.items():
        for figure in sorted(path.parent.glob(f'{stem}*.png')):
            body.append(f'<h2>{heading}</h2>{embedded_photo(figure.read_bytes(), heading)}')
    write_text(path, html_page(title, body))


def _surface(surface: CaseSurface, color: np.ndarray, count: int) -> Surface:
    return Surface(surface.anatomy, surface.mesh, color, thin(surface.mesh, count))


def _table(metrics: dict[str, dict], columns: dict[str, str]) -> str:
    rows = []
    for name, values in with_mean(metrics).items():
        cells = ''.join(f'<td>{shown(key, values[key])}</td>' for key in columns)
        rows.append(f'<tr><td>{label(name)}</td>{cells}</tr>')
    return html_table(('anatomy', *columns.values()), ''.join(rows), 'Errors')
