"""Surfaces that turn, toggle and show a value per vertex, with slices of the scan through them."""

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps

from massm.structures import Mesh
from massm.visualization.grey_volume import GreyVolume
from massm.visualization.names import label, words
from massm.visualization.packed import pack, pack_indices
from massm.visualization.thinning import Thinned

# Of signed values a diverging colour scale whose red is outwards; of distances a sequential one
# that is pale where all is well.
SCALES = {True: 'RdBu_r', False: 'YlOrRd'}
OUTWARDS = '; red (+) is outside of it, blue (-) inside'
HINT = (
    '<p class="note">Drag to turn, scroll to zoom. '
    '<button type="button" data-reset>Reset the view</button></p>'
)
# From where a scene is seen: in front of the patient, a little from the right and above.
EYE = {'x': 0.65, 'y': 1.35, 'z': 0.5}
SLICES_AT = 0.15
# Slices by the axis of patient space (RAS+) that they are normal to, and which way is up on it.
SLICES = (('Sagittal', 'to the right'), ('Coronal', 'to the front'), ('Axial', 'to the head'))


@dataclass(frozen=True, eq=False)
class Surface:
    """``mesh`` in patient mm, its ``color`` ``[3]`` in [0, 1] and the part of it that is drawn.
    Where ``seen`` ``[V]`` is false it is extrapolated; none: all of it was seen."""

    anatomy: str
    mesh: Mesh
    color: np.ndarray
    drawn: Thinned
    seen: np.ndarray | None = None

    @property
    def unseen_faces(self) -> np.ndarray:
        """Indices of the drawn faces with a corner that was not seen."""
        if self.seen is None:
            return np.zeros(0, dtype=int)
        return np.flatnonzero(~self.seen[self.drawn.kept][self.drawn.faces].all(1))

    def to_json(self) -> dict:
        """As the page's script reads it."""
        unseen = self.unseen_faces
        return {
            'name': words(self.anatomy),
            'color': rgb(self.color),
            'vertices': pack(self.mesh.vertices[self.drawn.kept]),
            'faces': pack_indices(self.drawn.faces),
            'unseen': pack_indices(unseen) if len(unseen) else None,
        }


@dataclass(frozen=True, eq=False)
class Measure:
    """What surfaces may be coloured by: ``values`` ``[V]`` of each, mm, and what they mean, e.g.
    ``distance from the mean shape``; ``signed`` ones are positive outwards, with zero in the middle
    of the scale."""

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

    def to_json(self, surfaces: Sequence[Surface]) -> dict:
        """As the page's script reads it: values at the drawn vertices of each surface."""
        pairs = zip(self.values, surfaces, strict=True)
        return {
            'title': f'{self.meaning}, mm{OUTWARDS if self.signed else ""}',
            'values': [pack(values[surface.drawn.kept]) for values, surface in pairs],
            'scale': _stops(SCALES[self.signed]),
            'range': [-self.limit if self.signed else 0, self.limit],
        }


def html_scene(
    surfaces: Sequence[Surface],
    measures: Sequence[Measure],
    name: str = 'scene',
    shown: int | None = None,
    volume: GreyVolume | None = None,
) -> str:
    """A view of ``surfaces`` with its controls, as HTML; the page brings
    :func:`massm.visualization.page.html_viewer`.

    Args:
        measures: that they may be coloured by.
        name: of the view, unique in its page.
        shown: which of the measures colours them at first; none: each its own colour.
        volume: of which slices are shown.
    """
    data = {
        'surfaces': [surface.to_json() for surface in surfaces],
        'measures': [measure.to_json(surfaces) for measure in measures],
        'volume': None if volume is None else volume.to_json(),
        'eye': EYE,
    }
    controls = [
        _coloring(name, measures, shown) if measures else '',
        '' if volume is None else _slices(volume, surfaces),
        _toggles(surfaces),
    ]
    return html_view('scene', name, data, ''.join(controls))


def html_view(kind: str, name: str, data: dict, controls: str) -> str:
    """A plot beside its controls; the page's scripts start it from ``data``."""
    return (
        f'<div class="view" data-kind="{kind}" id="{name}"><div class="plot"></div>'
        f'<div class="controls">{controls}{HINT}</div>'
        f'<script type="application/json">{_json(data)}</script></div>'
    )


def rgb(color: np.ndarray) -> str:
    """``[3]`` in [0, 1] as CSS."""
    return f'rgb({", ".join(str(round(255 * float(c))) for c in color[:3])})'


def swatch(color: np.ndarray) -> str:
    """A small square of a colour."""
    return f'<span class="swatch" style="background:{rgb(color)}"></span>'


def _json(data: dict) -> str:
    """JSON that no name in it can end the script around."""
    return json.dumps(data, separators=(',', ':')).replace('<', '\\u003c')


def _stops(scale: str) -> list:
    """A colour map of matplotlib as plotly and CSS know one."""
    return [[at, rgb(colormaps[scale](at))] for at in np.linspace(0, 1, 11).round(2).tolist()]


def _toggles(surfaces: Sequence[Surface]) -> str:
    boxes = ''.join(
        f'<label><input type="checkbox" checked data-surface="{number}">'
        f'{swatch(surface.color)}{label(surface.anatomy)}</label>'
        for number, surface in enumerate(surfaces)
    )
    cut = any(len(surface.unseen_faces) for surface in surfaces)
    note = '<p class="note">See-through: beyond the scan, extrapolated.</p>' if cut else ''
    return f'<fieldset><legend>Anatomies</legend>{boxes}{note}</fieldset>'


def _slices(volume: GreyVolume, surfaces: Sequence[Surface]) -> str:
    vertices = np.concatenate([surface.mesh.vertices for surface in surfaces])
    # Through the surfaces, and most of them between the slice and the eye.
    crossed = vertices.min(0) + SLICES_AT * np.ptp(vertices, axis=0)
    at = np.rint((crossed - volume.first_mm) / volume.spacing).astype(int)
    rows = []
    for axis, (plane, direction) in enumerate(SLICES):
        last = volume.values.shape[axis] - 1
        rows.append(
            f'<div data-slice="{axis}"><label><input type="checkbox" checked>{plane}'
            f'<output></output></label><input type="range" min="0" max="{last}" '
            f'value="{min(max(at[axis], 0), last)}" aria-label="{plane} slice, {direction}"></div>'
        )
    return f'<fieldset><legend>Slices of the scan</legend>{"".join(rows)}</fieldset>'


def _coloring(name: str, measures: Sequence[Measure], shown: int | None) -> str:
    choices = [('anatomy', 'by anatomy'), *((str(i), m.meaning) for i, m in enumerate(measures))]
    first = 'anatomy' if shown is None else str(shown)
    buttons = ''.join(
        f'<label><input type="radio" name="coloring-{name}" value="{value}"'
        f'{" checked" if value == first else ""}>{html.escape(meaning)}</label>'
        for value, meaning in choices
    )
    scale = (
        '<div class="scale" hidden><div class="ramp"></div><div class="ends"><span></span>'
        '<span></span><span></span></div><div class="title"></div></div>'
    )
    return f'<fieldset><legend>Colours</legend>{buttons}{scale}</fieldset>'
