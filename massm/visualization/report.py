"""A result as one HTML page that needs nothing else: no network, no other file."""

import html
from pathlib import Path

import numpy as np

from massm import __version__
from massm.io.atomic import write_text
from massm.structures import AnatomyStatus
from massm.visualization.colors import anatomy_colors
from massm.visualization.grey_values import grey_range
from massm.visualization.grey_volume import GreyVolume, grey_volume
from massm.visualization.measure_table import STATUSES, html_measures
from massm.visualization.names import label
from massm.visualization.page import embedded_photo, html_page, html_viewer
from massm.visualization.scene import Measure, Surface, html_scene
from massm.visualization.shape_view import html_shapes
from massm.visualization.slices import draw_slices
from massm.visualization.thinning import thin

# What surfaces may be coloured by: meaning, field of a ShapeResult, whether it is signed.
MEASURES = (
    ('distance from the mean shape', 'deviation_mm', True),
    ('uncertainty of the surface', 'uncertainty_mm', False),
)
DOUBTFUL = (AnatomyStatus.TRUNCATED, AnatomyStatus.LOW_CONFIDENCE)


def write_report(path: Path, name: str, result) -> None:
    """Writes the page of an :class:`massm.inference.results.InferenceResult`.

    Raises:
        ConfigError: plotly is not installed.
    """
    colors = anatomy_colors(len(result.shapes))
    found = [(color, s) for color, s in zip(colors, result.shapes, strict=True) if s.is_present]
    body = [
        f'<h1>{html.escape(name)}</h1><p>{html.escape(_source(result))}</p>',
        _warnings(result),
        _views(result, found) if found else '<p>No anatomy was found.</p>',
        '<h2>Measures</h2>',
        html_measures(result.shapes, colors),
        _slices(result, found),
        _footer(result),
    ]
    write_text(path, html_page(name, body))


def _source(result) -> str:
    series = '' if result.series is None else f', series {result.series}'
    model = '' if result.model is None else f'; model {result.model.name}'
    return f'{result.source}{series}{model}'


def _warnings(result) -> str:
    notes = [html.escape(w) for w in result.warnings]
    for shape in result.shapes:
        if shape.status in DOUBTFUL:
            told = f'{STATUSES[shape.status]}; {html.escape(shape.reason)}'
            notes.append(f'{label(shape.anatomy)}: {told}')
    if not notes:
        return ''
    items = ''.join(f'<li>{note}</li>' for note in notes)
    title = '<strong>Look at these first</strong>'
    return f'<div class="warnings" role="note">{title}<ul>{items}</ul></div>'


def _views(result, found: list) -> str:
    """Surfaces in the scan, then against the population."""
    shapes = [shape for _, shape in found]
    surfaces = [
        Surface(s.anatomy, s.mesh, color, thin(s.mesh, len(found)), s.seen_vertices)
        for color, s in found
    ]
    measures = [
        Measure(meaning, [getattr(s, field) for s in shapes], signed)
        for meaning, field, signed in MEASURES
        if all(getattr(s, field) is not None for s in shapes)
    ]
    scene = html_scene(surfaces, measures, volume=_volume(result, surfaces))
    population = html_shapes(surfaces, shapes)
    if population:
        population = f'<h2>Shapes against the population</h2>{population}'
    return f'<h2>Surfaces</h2>{scene}{population}{html_viewer()}'


def _volume(result, surfaces: list[Surface]) -> GreyVolume | None:
    if result.volume is None:
        return None
    vertices = np.concatenate([surface.mesh.vertices for surface in surfaces])
    shown = grey_range(result.volume, result.modality)
    return grey_volume(result.volume, result.grid, vertices, shown)


def _slices(result, found: list) -> str:
    if result.volume is None or not found:
        return ''
    colors = np.array([color for color, _ in found])
    shown = grey_range(result.volume, result.modality)
    png = draw_slices(result.volume, result.grid, [s.mesh for _, s in found], colors, shown)
    words = 'Axial, coronal and sagittal slice with the outlines of the anatomies'
    return f'<h2>Slices</h2>{embedded_photo(png, words)}'


def _footer(result) -> str:
    size = ' x '.join(map(str, result.grid.shape))
    spacing = ' x '.join(f'{s:.2f}' for s in result.grid.spacing)
    return (
        f'<footer><p>{size} voxels of {spacing} mm. Axes: extents along the directions of largest '
        'spread. Mahalanobis: standard deviations from the training mean over all modes, in '
        'brackets how far training shapes are from it. Surfaces are thinned for '
        f'this page; the files beside it are whole. Made by MASSM {__version__}; '
        'for research, not for diagnosis.</p></footer>'
    )
