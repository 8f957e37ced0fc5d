"""Box plots of the errors per anatomy, like the paper's Figures 2 and 3."""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from massm.evaluation.summary import Row
from massm.io.atomic import replacing

matplotlib.use('Agg')

FIGURES = {
    'rmse': [
        ('local_rmse_mm', 'Local particles: RMSE, mm', 'local_rmse_mm_mean_shape_true_center'),
        ('world_rmse_mm', 'World particles: RMSE, mm', 'world_rmse_mm_mean_shape'),
    ],
    'surface': [
        ('s2s_particles_mm', 'Surface distance to the true particles’ mesh, mm', None),
        ('s2s_mask_mm', 'Surface distance to the reference mask, mm', None),
    ],
}


def draw_box_plots(rows: list[Row], folder: Path) -> list[Path]:
    """Writes ``rmse.png`` and ``surface.png``; a grey line marks the mean shape's median error.

    Returns:
        The files written; a figure without data is left out.
    """
    written = []
    for name, panels in FIGURES.items():
        usable = [panel for panel in panels if any(panel[0] in row for row in rows)]
        if not usable:
            continue
        figure = Figure(figsize=(9, 3.6 * len(usable)), layout='constrained')
        for i, (key, title, yardstick) in enumerate(usable):
            _panel(figure.add_subplot(len(usable), 1, i + 1), rows, key, title, yardstick)
        path = folder / f'{name}.png'
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=120)
        written.append(path)
    return written


def _panel(axes, rows: list[Row], key: str, title: str, yardstick: str | None) -> None:
    names = list(dict.fromkeys(row['anatomy'] for row in rows if key in row))
    data = [[r[key] for r in rows if r['anatomy'] == n and key in r] for n in names]
    axes.boxplot(data, tick_labels=[n.replace('_', ' ') for n in names], widths=0.5)
    if yardstick is not None:
        for i, name in enumerate(names):
            values = [r[yardstick] for r in rows if r['anatomy'] == name and yardstick in r]
            axes.hlines(
                np.median(values),
                i + 0.65,
                i + 1.35,
                colors='0.6',
                label='mean shape' if i == 0 else None,
            )
        axes.legend(frameon=False)
    axes.set_ylim(bottom=0)
    axes.set_title(title, loc='left')
    axes.tick_params(axis='x', labelrotation=20)
    axes.spines[['top', 'right']].set_visible(False)
