"""Surfaces coloured by their distance to the reference, like the paper's Figures 5 and 6."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from massm.evaluation.case_surfaces import CaseSurface
from massm.evaluation.notable import BEST_AND_WORST
from massm.io.atomic import replacing
from massm.visualization.surface_image import BACK, FRONT, half_width, surface_image

matplotlib.use('Agg')

VIEWS = {'front': FRONT, 'back': BACK}
COLOURS = colormaps['YlOrRd']


def draw_heat_maps(pairs: Sequence[tuple[CaseSurface, CaseSurface]], path: Path) -> None:
    """One row per anatomy: its best and its worst case from the front and from behind. A row shares
    one scale and one colour map, so that the two can be compared.

    Args:
        pairs: best and worst of each anatomy.
    """
    figure = Figure(figsize=(10, 2.6 * len(pairs)), layout='constrained')
    rows = figure.subplots(len(pairs), 4, squeeze=False)
    for axes, (best, worst) in zip(rows, pairs, strict=True):
        _row(figure, axes, best, worst)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=90)


def _row(figure: Figure, axes: np.ndarray, best: CaseSurface, worst: CaseSurface) -> None:
    limit = float(np.percentile(worst.distance_mm, 99)) or 1.0
    scale = Normalize(0, limit, clip=True)
    cells = [(s, view) for s in (best, worst) for view in VIEWS]
    for column, (surface, view) in enumerate(cells):
        half = max(half_width([s.mesh.vertices], VIEWS[view]) for s in (best, worst))
        values = scale(surface.distance_mm).data
        axes[column].imshow(surface_image(surface.mesh, values, COLOURS, VIEWS[view], half))
        axes[column].set_axis_off()
        axes[column].set_title(_title(surface, view, column), fontsize=9, loc='left')
    bar = ScalarMappable(scale, COLOURS)
    figure.colorbar(bar, ax=list(axes), label='mm', shrink=0.8)


def _title(surface: CaseSurface, view: str, column: int) -> str:
    if column % 2:
        return f'\nfrom the {view}'
    name = surface.anatomy.replace('_', ' ')
    kind = BEST_AND_WORST[column // 2]
    return f'{name}\n{kind}: {surface.id}, {surface.distance_mm.mean():.2f} mm'
