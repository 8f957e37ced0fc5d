"""What was measured of each anatomy, beside the training population, as a table of a page."""

import html
from collections.abc import Sequence

import numpy as np

from massm.structures import AnatomyStatus
from massm.visualization.names import label
from massm.visualization.page import html_table
from massm.visualization.scene import swatch

# What a status means to a reader.
STATUSES = {
    AnatomyStatus.OK: 'found',
    AnatomyStatus.TRUNCATED: 'cut by the scan',
    AnatomyStatus.LOW_CONFIDENCE: 'low confidence',
    AnatomyStatus.ABSENT: 'not found',
}
# Key of a measure, its heading, decimals.
SIZES = (
    ('volume_ml', 'volume, ml', 1),
    ('surface_cm2', 'surface, cm²', 1),
    ('axis1_mm', 'axis 1, mm', 0),
    ('axis2_mm', 'axis 2, mm', 0),
    ('axis3_mm', 'axis 3, mm', 0),
)
COLUMNS = (
    'anatomy', 'status', 'score', 'inside the scan', *(heading for _, heading, _ in SIZES),
    'uncertainty, mm', 'Mahalanobis (usual)', 'modes 1, 2, 3 (SD)',
)  # fmt: skip
NOTE = (
    '<p class="note">Below a measure its percentile among the training subjects, on a strip from '
    'their least to their largest value; the dark part holds their middle half. What a scan leaves '
    'open is told as the average is; sizes that hardly followed the patients in the test of the '
    'model have no percentile.</p>'
)


def html_measures(shapes: Sequence, colors: np.ndarray) -> str:
    """A row for each :class:`massm.inference.results.ShapeResult`, ``colors`` ``[K, 3]``."""
    rows = ''.join(_row(shape, color) for shape, color in zip(shapes, colors, strict=True))
    note = NOTE if any(shape.quantiles for shape in shapes) else ''
    return note + html_table(COLUMNS, rows, 'Measures')


def _row(shape, color: np.ndarray) -> str:
    state = shape.status.value
    reason = f'<small>{html.escape(shape.reason)}</small>' if shape.reason else ''
    cells = [
        f'<td>{swatch(color)} {label(shape.anatomy)}</td>',
        f'<td class="status {state}">{STATUSES.get(shape.status, state)}{reason}</td>',
        f'<td>{shape.score:.2f}</td>',
    ]
    if shape.is_present:
        sure, scores = shape.uncertainty_mm, shape.z_scores
        cells += [
            f'<td>{100 * float(np.mean(shape.seen)):.0f} %</td>',
            *(_size(shape, key, decimals) for key, _, decimals in SIZES),
            f'<td>{"" if sure is None else f"{sure.mean():.1f}"}</td>',
            f'<td>{_distance(shape)}</td>',
            f'<td>{"" if scores is None else ", ".join(f"{z:+.1f}" for z in scores[:3])}</td>',
        ]
    else:
        cells += ['<td></td>'] * (len(COLUMNS) - len(cells))
    return f'<tr>{"".join(cells)}</tr>'


def _distance(shape) -> str:
    """From the mean shape, and what it usually is."""
    if shape.mahalanobis is None:
        return ''
    return f'{shape.mahalanobis:.1f} ({shape.usual_mahalanobis:.1f})'


def _size(shape, key: str, decimals: int) -> str:
    """A measure, and where it lies in the population where that is known."""
    value = shape.measures[key]
    known = (shape.quantiles or {}).get(key) or []
    place = (shape.percentiles or {}).get(key)
    strip = '' if place is None else _strip(value, known, place)
    return f'<td>{value:.{decimals}f}{strip}</td>'


def _strip(value: float, quantiles: Sequence[float], percentile: float) -> str:
    """A strip from the least to the largest of the population, its middle half darker and the
    patient's ``value`` marked; its ``percentile`` in words."""
    low, high = quantiles[0], quantiles[-1]
    first, third, at = (
        100 * float(np.clip((x - low) / (high - low or 1), 0, 1))
        for x in (*np.quantile(quantiles, [0.25, 0.75]), value)
    )
    said = place_in_words(value, quantiles, percentile)
    title = f'{said}; the training population has {low:.1f} to {high:.1f}'
    return (
        f'<span class="strip" title="{title}"><span class="half" style="left:{first:.1f}%;'
        f'width:{third - first:.1f}%"></span><span class="at" style="left:{at:.1f}%"></span></span>'
        f'<small>{said}</small>'
    )


def place_in_words(value: float, quantiles: Sequence[float], percentile: float) -> str:
    """``34th`` percentile, or that ``value`` is beyond all of the population."""
    if value < quantiles[0]:
        return 'below all'
    if value > quantiles[-1]:
        return 'above all'
    number = round(percentile)
    teen = number % 100 in (11, 12, 13)
    ending = 'th' if teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')
    return f'{number}{ending}'
