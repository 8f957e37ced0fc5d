"""Methods side by side: box plots like the paper's Figures 2 and 3, and training curves."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from massm.io.atomic import replacing

matplotlib.use('Agg')

# Anatomy to method to patient to value.
Values = Mapping[str, Mapping[str, Mapping[str, float]]]
WIDTH = 0.8
SMOOTHED = 20


def draw_method_boxes(panels: Mapping[str, Values], methods: Sequence[str], path: Path) -> bool:
    """A panel each, a group of boxes per anatomy, a box per method that has the measure.

    Args:
        panels: values (one a patient), by the panel's title.

    Returns:
        Whether there was anything to draw.
    """
    usable = {title: values for title, values in panels.items() if any(values.values())}
    path.unlink(missing_ok=True)
    if not usable:
        return False
    anatomies = max(len(values) for values in usable.values())
    figure = Figure(figsize=(max(8, 1.9 * anatomies), 4 * len(usable)), layout='constrained')
    grid = figure.subplots(len(usable), 1, squeeze=False)[:, 0]
    for axes, (title, values) in zip(grid, usable.items(), strict=True):
        _panel(axes, title, values, methods)
    handles = [Patch(color=_color(i), label=name) for i, name in enumerate(methods)]
    figure.legend(handles=handles, loc='outside lower center', ncols=4, frameon=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
    return True


def _panel(axes: Axes, title: str, values: Values, methods: Sequence[str]) -> None:
    there = [i for i, name in enumerate(methods) if any(m.get(name) for m in values.values())]
    step = WIDTH / max(len(there), 1)
    for group, cases in enumerate(values.values()):
        for slot, i in enumerate(there):
            data = list(cases.get(methods[i], {}).values())
            if not data:
                continue
            place = group + (slot - (len(there) - 1) / 2) * step
            box = axes.boxplot(
                data, positions=[place], widths=0.85 * step, patch_artist=True,
                manage_ticks=False, flierprops={'ms': 2}, medianprops={'color': 'black'},
            )  # fmt: skip
            box['boxes'][0].set_facecolor(_color(i))
    axes.set_xticks(range(len(values)), [name.replace('_', ' ') for name in values])
    axes.set_xlim(-0.6, len(values) - 0.4)
    axes.set_ylim(bottom=0)
    axes.set_title(title, loc='left')
    axes.spines[['top', 'right']].set_visible(False)


def draw_training_curves(work_dirs: Mapping[str, Sequence[Path]], path: Path) -> bool:
    """The loss over the steps, a panel per method and a line per run.

    Args:
        work_dirs: of each method's runs.

    Returns:
        Whether there was anything to draw.
    """
    curves = {
        name: [curve for folder in folders if len(curve := _losses(folder)[0])]
        for name, folders in work_dirs.items()
    }
    shown = {name: found for name, found in curves.items() if found}
    path.unlink(missing_ok=True)
    if not shown:
        return False
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(4 * columns, 2.8 * rows), layout='constrained')
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(shown) :]:
        axes.set_axis_off()
    for axes, name in zip(grid, shown, strict=False):
        for folder in work_dirs[name]:
            steps, losses = _losses(folder)
            if len(steps):
                axes.plot(steps, _smooth(losses), lw=1)
        axes.set_title(name, loc='left', fontsize=10)
        axes.set_xlabel('step')
        axes.set_ylabel('loss')
        axes.spines[['top', 'right']].set_visible(False)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)
    return True


def _losses(work_dir: Path) -> tuple[np.ndarray, np.ndarray]:
    """Steps and logged losses of all parts of a run, in order."""
    found: dict[int, float] = {}
    for log in sorted(work_dir.glob('2*/vis_data/scalars.json')):
        for line in log.read_text(encoding='utf-8').splitlines():
            try:
                row = json.loads(line)
            except ValueError:  # cut off, as its process was
                continue
            if 'loss' in row:
                found[row['step']] = row['loss']
    steps = sorted(found)
    return np.array(steps), np.array([found[step] for step in steps])


def _smooth(values: np.ndarray) -> np.ndarray:
    """Running mean of the last few."""
    sums = np.cumsum(np.insert(values, 0, 0.0))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - SMOOTHED, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)


def _color(index: int) -> tuple[float, ...]:
    return colormaps['tab10'](index % 10)
