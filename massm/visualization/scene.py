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
    """``mesh`` in patient mm and its ``color`` ``[3]`` in [0, 1]."""

    anatomy: str
    mesh: Mesh
    color: np.ndarray


@dataclass(frozen=True, eq=False)
class Measure:
    """What surfaces may be coloured by: ``values`` ``[V]`` of each, mm, and what they mean, e.g.
    ``distance from the mean shape``; ``signed`` ones have a direction, zero in the middle of the
    scale."""

    meaning: str
    values: Sequence[np.ndarray]
    signed: bool

    @property
    def limit(self) -> float:
        """Where the scale ends."""
        known = [np.abs(values) for values in self.values]
        # One far vertex must not wash out the rest of a map of distances.
        ends = [float(v.max() if self.signed else np.percentile(v, 99)) for v in known]
        return max(ends, default=1.0) or 1.0

    def to_json(self) -> dict:
        """As the page's script reads it."""
        scale, is_reversed = SCALES[self.signed]
        return {
            'title': f'{self.meaning}, mm',
            'values': [values.round(2).tolist() for values in self.values],
            'scale': scale,
            'reversed': is_reversed,
            'range': [-self.limit if self.signed else 0, self.limit],
        }


def html_scene(
    surfaces: Sequence[Surface],
    measures: Sequence[Measure],
    name: str = 'scene',
    shown: int | None = None,
    with_library: bool = True,
) -> str:
    """A view of ``surfaces`` with its controls, as HTML.

    Args:
        measures: that they may be coloured by.
        name: of the view, unique in its page.
        shown: which of the measures colours them at first; none: each its own colour.
        with_library: bring plotly; once a page.

    Raises:
        ConfigError: plotly is not installed.
    """
    told = [measure.to_json() for measure in measures]
    data = json.dumps({'colors': [rgb(s.color) for s in surfaces], 'measures': told})
    return (
        f'<div class="view" data-scene="{name}">'
        f'{_plot(surfaces, name, with_library)}<div class="controls">'
        f'{_coloring(name, measures, shown) if measures else ""}{_toggles(surfaces)}</div>'
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


def _coloring(name: str, measures: Sequence[Measure], shown: int | None) -> str:
    words = [('anatomy', 'by anatomy'), *((str(i), m.meaning) for i, m in enumerate(measures))]
    first = 'anatomy' if shown is None else str(shown)
    choices = ''.join(
        f'<label><input type="radio" name="coloring-{name}" value="{value}"'
        f'{" checked" if value == first else ""}>{html.escape(meaning)}</label>'
        for value, meaning in words
    )
    return f'<fieldset><legend>Colours</legend>{choices}</fieldset>'


def _plot(surfaces: Sequence[Surface], name: str, with_library: bool) -> str:
    try:
        import plotly.graph_objects as go
    except ImportError as error:
        raise ConfigError('reports need plotly: pip install plotly') from error
    traces = []
    for surface in surfaces:
        x, y, z = surface.mesh.vertices.astype(np.float32).T
        a, b, c = surface.mesh.faces.astype(np.int32).T
        traces.append(
            go.Mesh3d(
                x=x, y=y, z=z, i=a, j=b, k=c, color=rgb(surface.color), name=surface.anatomy,
                showscale=False, colorbar={'title': {'side': 'right'}, 'thickness': 12},
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
