"""Surfaces that turn, toggle and show a value per vertex, inside an HTML page."""

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from massm.errors import ConfigError
from massm.structures import Mesh

SCRIPT = Path(__file__).parent / 'scene.js'
# Of signed values a diverging colour scale, turned round so that red is outwards; of distances a
# sequential one that is pale where all is well.
SCALES = {True: ('RdBu', True), False: ('YlOrRd', False)}
AXIS = {'showbackground': False, 'showticklabels': False, 'showgrid': False, 'zeroline': False}


@dataclass(frozen=True, eq=False)
class Surface:
    """``mesh`` in patient mm, its ``color`` ``[3]`` in [0, 1] and, where known, ``values`` ``[V]``,
    mm."""

    anatomy: str
    mesh: Mesh
    color: np.ndarray
    values: np.ndarray | None = None


def html_scene(
    surfaces: Sequence[Surface],
    meaning: str,
    signed: bool,
    name: str = 'scene',
    by_values: bool = False,
    with_library: bool = True,
) -> str:
    """A view of ``surfaces`` with its controls, as HTML.

    Args:
        meaning: what the values are, e.g. ``distance from the mean shape``.
        signed: values have a direction, zero in the middle of the scale.
        name: of the view, unique in its page.
        by_values: start coloured by the values.
        with_library: bring plotly; once a page.

    Raises:
        ConfigError: plotly is not installed.
    """
    has_values = all(surface.values is not None for surface in surfaces)
    values = [surface.values.round(2).tolist() for surface in surfaces] if has_values else []
    data = json.dumps({'values': values, 'colors': [rgb(s.color) for s in surfaces]})
    start = has_values and by_values
    return (
        f'<div class="view" data-scene="{name}">'
        f'{_plot(surfaces, meaning, signed, name, with_library)}<div class="controls">'
        f'{_coloring(name, meaning, start) if has_values else ""}{_toggles(surfaces)}</div>'
        f'<script type="application/json">{data}</script></div>'
        + (f'<script>{SCRIPT.read_text(encoding="utf-8")}</script>' if with_library else '')
    )


def label(anatomy: str) -> str:
    """A name as text of a page."""
    return html.escape(anatomy.replace('_', ' '))


def rgb(color: np.ndarray) -> str:
    """``[3]`` in [0, 1] as CSS."""
    return f'rgb({", ".join(str(round(255 * float(c))) for c in color)})'


def swatch(color: np.ndarray) -> str:
    """A small square of a colour."""
    return f'<span class="swatch" style="background:{rgb(color)}"></span>'


def _toggles(surfaces: Sequence[Surface]) -> str:
    boxes = ''.join(
        f'<label><input type="checkbox" checked data-trace="{trace}">'
        f'{swatch(surface.color)}{label(surface.anatomy)}</label>'
        for trace, surface in enumerate(surfaces)
    )
    return f'<fieldset><legend>Show</legend>{boxes}</fieldset>'


def _coloring(name: str, meaning: str, by_values: bool) -> str:
    choices = ''.join(
        f'<label><input type="radio" name="coloring-{name}" value="{value}"'
        f'{" checked" if chosen else ""}>{words}</label>'
        for value, words, chosen in (
            ('anatomy', 'by anatomy', not by_values),
            ('values', html.escape(meaning), by_values),
        )
    )
    return f'<fieldset><legend>Colours</legend>{choices}</fieldset>'


def _plot(
    surfaces: Sequence[Surface], meaning: str, signed: bool, name: str, with_library: bool
) -> str:
    try:
        import plotly.graph_objects as go
    except ImportError as error:
        raise ConfigError('reports need plotly: pip install plotly') from error
    known = [np.abs(s.values) for s in surfaces if s.values is not None]
    # One far vertex must not wash out the rest of a map of distances.
    ends = [float(v.max() if signed else np.percentile(v, 99)) for v in known]
    limit = max(ends, default=1.0) or 1.0
    scale, is_reversed = SCALES[signed]
    traces = []
    for surface in surfaces:
        x, y, z = surface.mesh.vertices.astype(np.float32).T
        a, b, c = surface.mesh.faces.astype(np.int32).T
        traces.append(
            go.Mesh3d(
                x=x, y=y, z=z, i=a, j=b, k=c, color=rgb(surface.color), name=surface.anatomy,
                colorscale=scale, reversescale=is_reversed, showscale=False,
                cmin=-limit if signed else 0, cmax=limit,
                colorbar={'title': {'text': f'{meaning}, mm', 'side': 'right'}, 'thickness': 12},
                lighting={'ambient': 0.45, 'diffuse': 0.8, 'specular': 0.15},
                flatshading=False,
                hovertemplate=f'{label(surface.anatomy)}<extra></extra>',
            )
        )  # fmt: skip
    figure = go.Figure(traces)
    figure.update_layout(
        margin={'l': 0, 'r': 0, 't': 0, 'b': 0},
        paper_bgcolor='rgba(0,0,0,0)',
        showlegend=False,
        scene={
            'aspectmode': 'data',
            'xaxis': {**AXIS, 'title': {'text': 'left ↔ right'}},
            'yaxis': {**AXIS, 'title': {'text': 'back ↔ front'}},
            'zaxis': {**AXIS, 'title': {'text': 'feet ↔ head'}},
            'camera': {'eye': {'x': 0.25, 'y': 1.7, 'z': 0.3}},
        },
    )
    return figure.to_html(
        full_html=False, include_plotlyjs=with_library, div_id=name, default_height='62vh',
        config={'displaylogo': False, 'responsive': True},
    )  # fmt: skip
