"""A result as one HTML page that needs nothing else: no network, no other file."""

import html
import json
from pathlib import Path

import numpy as np

from massm import __version__
from massm.errors import ConfigError
from massm.io.atomic import write_text
from massm.structures import AnatomyStatus
from massm.visualization.colors import anatomy_colors
from massm.visualization.page import embedded_png, html_page, html_table
from massm.visualization.slices import draw_slices

HERE = Path(__file__).parent
COLUMNS = (
    'anatomy', 'status', 'score', 'volume ml', 'percentile', 'surface cm²', 'axes mm',
    'Mahalanobis', 'modes 1, 2, 3 (SD)', 'remark',
)  # fmt: skip


def write_report(path: Path, name: str, result) -> None:
    """Writes the page of an :class:`massm.apis.results.InferenceResult`.

    Raises:
        ConfigError: plotly is not installed.
    """
    colors = anatomy_colors(len(result.shapes))
    found = [(i, s) for i, s in enumerate(result.shapes) if s.is_present]
    body = [
        f'<h1>{html.escape(name)}</h1><p>{html.escape(result.source)}</p>',
        _warnings(result),
        _view(found, colors) if found else '<p>No anatomy was found.</p>',
        _slices(result, found, colors),
        '<h2>Measures</h2>',
        _table(result.shapes, colors),
        _footer(result),
    ]
    write_text(path, html_page(name, body))


def _warnings(result) -> str:
    notes = [html.escape(w) for w in result.warnings]
    for shape in result.shapes:
        if shape.status in (AnatomyStatus.TRUNCATED, AnatomyStatus.LOW_CONFIDENCE):
            notes.append(f'{_label(shape.anatomy)}: {html.escape(shape.reason)}')
    if not notes:
        return ''
    items = ''.join(f'<li>{note}</li>' for note in notes)
    title = '<strong>Look at these first</strong>'
    return f'<div class="warnings" role="note">{title}<ul>{items}</ul></div>'


def _view(found: list, colors: np.ndarray) -> str:
    boxes = ''.join(
        f'<label><input type="checkbox" checked data-trace="{trace}">'
        f'{_swatch(colors[i])}{_label(shape.anatomy)}</label>'
        for trace, (i, shape) in enumerate(found)
    )
    has_deviation = all(shape.deviation_mm is not None for _, shape in found)
    coloring = (
        '<fieldset><legend>Colours</legend>'
        '<label><input type="radio" name="coloring" value="anatomy" checked>by anatomy</label>'
        '<label><input type="radio" name="coloring" value="deviation">distance from the mean '
        'shape</label></fieldset>'
    )
    plain = json.dumps([_rgb(colors[i]) for i, _ in found])
    values = [shape.deviation_mm.round(2).tolist() for _, shape in found] if has_deviation else []
    return (
        '<h2>Surfaces</h2><div class="view">'
        f'{_plot(found, colors)}<div class="controls">{coloring if has_deviation else ""}'
        f'<fieldset><legend>Show</legend>{boxes}</fieldset></div></div>'
        f'<script type="application/json" id="colors">{plain}</script>'
        f'<script type="application/json" id="deviations">{json.dumps(values)}</script>'
        f'<script>{(HERE / "report.js").read_text(encoding="utf-8")}</script>'
    )


def _plot(found: list, colors: np.ndarray) -> str:
    try:
        import plotly.graph_objects as go
    except ImportError as error:
        raise ConfigError('reports need plotly: pip install plotly') from error
    known = [s.deviation_mm for _, s in found if s.deviation_mm is not None]
    limit = max((float(np.abs(d).max()) for d in known), default=1.0)
    traces = []
    for i, shape in found:
        x, y, z = shape.mesh.vertices.astype(np.float32).T
        a, b, c = shape.mesh.faces.astype(np.int32).T
        traces.append(
            go.Mesh3d(
                x=x, y=y, z=z, i=a, j=b, k=c, color=_rgb(colors[i]), name=shape.anatomy,
                colorscale='RdBu', reversescale=True, cmin=-limit, cmax=limit, showscale=False,
                colorbar={'title': {'text': 'mm from the mean'}, 'thickness': 12},
                lighting={'ambient': 0.45, 'diffuse': 0.8, 'specular': 0.15},
                flatshading=False,
                hovertemplate=f'{_label(shape.anatomy)}<extra></extra>',
            )
        )  # fmt: skip
    axis = {'showbackground': False, 'showticklabels': False, 'showgrid': False, 'zeroline': False}
    figure = go.Figure(traces)
    figure.update_layout(
        margin={'l': 0, 'r': 0, 't': 0, 'b': 0},
        paper_bgcolor='rgba(0,0,0,0)',
        showlegend=False,
        scene={
            'aspectmode': 'data',
            'xaxis': {**axis, 'title': {'text': 'left ↔ right'}},
            'yaxis': {**axis, 'title': {'text': 'back ↔ front'}},
            'zaxis': {**axis, 'title': {'text': 'feet ↔ head'}},
            'camera': {'eye': {'x': 0.25, 'y': 1.7, 'z': 0.3}},
        },
    )
    return figure.to_html(
        full_html=False, include_plotlyjs=True, div_id='scene', default_height='62vh',
        config={'displaylogo': False, 'responsive': True},
    )  # fmt: skip


def _slices(result, found: list, colors: np.ndarray) -> str:
    if result.volume is None or not found:
        return ''
    indices = [i for i, _ in found]
    png = draw_slices(result.volume, result.grid, [s.mesh for _, s in found], colors[indices])
    words = 'Axial, coronal and sagittal slice with the outlines of the anatomies'
    return f'<h2>Slices</h2>{embedded_png(png, words)}'


def _table(shapes: list, colors: np.ndarray) -> str:
    rows = ''.join(_row(shape, color) for shape, color in zip(shapes, colors, strict=True))
    return html_table(COLUMNS, rows, 'Measures')


def _row(shape, color: np.ndarray) -> str:
    state = shape.status.value
    cells = [
        f'<td>{_swatch(color)} {_label(shape.anatomy)}</td>',
        f'<td class="{state}">{state.replace("_", " ")}</td>',
        f'<td>{shape.score:.2f}</td>',
    ]
    if not shape.is_present:
        cells += ['<td></td>'] * 6
    else:
        measures = shape.measures
        axes = ' x '.join(f'{measures[f"axis{i}_mm"]:.0f}' for i in (1, 2, 3))
        place = (shape.percentiles or {}).get('volume_ml')
        scores = shape.z_scores[:3] if shape.z_scores is not None else []
        cells += [
            f'<td>{measures["volume_ml"]:.1f}</td>',
            f'<td>{"" if place is None else f"{place:.0f}"}</td>',
            f'<td>{measures["surface_cm2"]:.1f}</td>',
            f'<td>{axes}</td>',
            f'<td>{"" if shape.mahalanobis is None else f"{shape.mahalanobis:.2f}"}</td>',
            f'<td>{", ".join(f"{z:+.1f}" for z in scores)}</td>',
        ]
    return f'<tr>{"".join(cells)}<td class="text">{html.escape(shape.reason)}</td></tr>'


def _footer(result) -> str:
    size = ' x '.join(map(str, result.grid.shape))
    spacing = ' x '.join(f'{s:.2f}' for s in result.grid.spacing)
    return (
        f'<footer><p>{size} voxels of {spacing} mm. Percentile: among the training subjects. '
        'Mahalanobis: standard deviations from the training mean over all modes. Made by MASSM '
        f'{__version__}; for research, not for diagnosis.</p></footer>'
    )


def _label(anatomy: str) -> str:
    return html.escape(anatomy.replace('_', ' '))


def _rgb(color: np.ndarray) -> str:
    return f'rgb({", ".join(str(round(255 * float(c))) for c in color)})'


def _swatch(color: np.ndarray) -> str:
    return f'<span class="swatch" style="background:{_rgb(color)}"></span>'
