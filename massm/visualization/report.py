"""A result as one HTML page that needs nothing else: no network, no other file."""

import html
from pathlib import Path

import numpy as np

from massm import __version__
from massm.io.atomic import write_text
from massm.structures import AnatomyStatus
from massm.visualization.colors import anatomy_colors
from massm.visualization.grey_values import grey_range
from massm.visualization.page import embedded_png, html_page, html_table
from massm.visualization.scene import Measure, Surface, html_scene, label, swatch
from massm.visualization.slices import draw_slices

COLUMNS = (
    'anatomy', 'status', 'score', 'volume ml', 'percentile', 'surface cm²', 'axes mm',
    'Mahalanobis', 'modes 1, 2, 3 (SD)', 'remark',
)  # fmt: skip

# What surfaces may be coloured by: meaning, field of a ShapeResult, whether it is signed.
MEASURES = (
    ('distance from the mean shape', 'deviation_mm', True),
    ('uncertainty of the surface', 'uncertainty_mm', False),
)


def write_report(path: Path, name: str, result) -> None:
    """Writes the page of an :class:`massm.inference.results.InferenceResult`.

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
            notes.append(f'{label(shape.anatomy)}: {html.escape(shape.reason)}')
    if not notes:
        return ''
    items = ''.join(f'<li>{note}</li>' for note in notes)
    title = '<strong>Look at these first</strong>'
    return f'<div class="warnings" role="note">{title}<ul>{items}</ul></div>'


def _view(found: list, colors: np.ndarray) -> str:
    surfaces = [Surface(s.anatomy, s.mesh, colors[i]) for i, s in found]
    measures = [
        Measure(meaning, [getattr(s, field) for _, s in found], signed)
        for meaning, field, signed in MEASURES
        if all(getattr(s, field) is not None for _, s in found)
    ]
    return '<h2>Surfaces</h2>' + html_scene(surfaces, measures)


def _slices(result, found: list, colors: np.ndarray) -> str:
    if result.volume is None or not found:
        return ''
    indices = [i for i, _ in found]
    shown = grey_range(result.volume, result.modality)
    meshes = [s.mesh for _, s in found]
    png = draw_slices(result.volume, result.grid, meshes, colors[indices], shown)
    words = 'Axial, coronal and sagittal slice with the outlines of the anatomies'
    return f'<h2>Slices</h2>{embedded_png(png, words)}'


def _table(shapes: list, colors: np.ndarray) -> str:
    rows = ''.join(_row(shape, color) for shape, color in zip(shapes, colors, strict=True))
    return html_table(COLUMNS, rows, 'Measures')


def _row(shape, color: np.ndarray) -> str:
    state = shape.status.value
    cells = [
        f'<td>{swatch(color)} {label(shape.anatomy)}</td>',
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
