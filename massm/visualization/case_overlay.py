"""One case: slices of the scan with reference masks and predicted particles."""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from massm.evaluation.case_prediction import CasePrediction
from massm.io.atomic import replacing
from massm.io.nifti import read_mask, read_volume
from massm.structures.modality import MODALITIES

matplotlib.use('Agg')

AXES = {'sagittal': 0, 'coronal': 1, 'axial': 2}


def draw_case(case: CasePrediction, path: Path) -> None:
    """Three orthogonal slices through the middle of each anatomy that was found.

    Lines are the reference mask's outline, dots the predicted particles within half a slice. One
    row per anatomy; the picture is shown as the patient stands (superior up, anterior up). Nothing
    is drawn of a case without local particles.
    """
    if case.local_mm is None:
        return
    volume, grid = read_volume(case.image)
    grey = MODALITIES[case.modality].shown
    shown = _found(case)
    if not shown:
        return
    figure = Figure(figsize=(9, 2.8 * len(shown)), layout='constrained')
    for row, k in enumerate(shown):
        particles = grid.to_voxel(case.local_mm[k])
        mask = read_mask(case.masks[k])[0] if case.masks[k] is not None else None
        for column, (name, axis) in enumerate(AXES.items()):
            axes = figure.add_subplot(len(shown), 3, 3 * row + column + 1)
            _slice(axes, volume, mask, particles, axis, grey)
            axes.set_title(_label(case, k) if column == 0 else name, fontsize=9)
    figure.legend(
        handles=[
            Line2D([], [], color='tab:cyan', label='reference mask'),
            Line2D([], [], color='tab:orange', marker='.', ls='', label='predicted particles'),
        ],
        loc='outside upper center',
        ncols=2,
        frameon=False,
    )
    figure.suptitle(f'{case.id}', x=0.02, ha='left')
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=90)


def _found(case: CasePrediction) -> list[int]:
    """What reaches its threshold; all anatomies of a network that gives no scores."""
    if case.scores is None:
        return list(range(len(case.anatomies)))
    return [k for k, score in enumerate(case.scores) if score >= case.thresholds[k]]


def _label(case: CasePrediction, k: int) -> str:
    name = case.anatomies[k].replace('_', ' ')
    return name if case.scores is None else f'{name} ({case.scores[k]:.2f})'


def _slice(
    axes,
    volume: np.ndarray,
    mask: np.ndarray | None,
    particles: np.ndarray,
    axis: int,
    grey: tuple[float, float],
) -> None:
    middle = (particles.min(0) + particles.max(0)) / 2
    index = int(np.clip(round(middle[axis]), 0, volume.shape[axis] - 1))
    others = [a for a in range(3) if a != axis]
    axes.imshow(
        volume.take(index, axis).T,
        origin='lower',
        cmap='gray',
        vmin=grey[0],
        vmax=grey[1],
        interpolation='nearest',
    )
    if mask is not None:
        section = mask.take(index, axis).T
        if section.any() and not section.all():
            axes.contour(section, levels=[0.5], colors=[colormaps['tab10'](9)], linewidths=1)
    near = np.abs(particles[:, axis] - index) <= 0.5
    axes.plot(particles[near, others[0]], particles[near, others[1]], '.', ms=3, color='tab:orange')
    margin = 0.6 * np.ptp(particles, axis=0) + 8
    for set_limits, a in zip((axes.set_xlim, axes.set_ylim), others, strict=True):
        low, high = particles[:, a].min() - margin[a], particles[:, a].max() + margin[a]
        set_limits(max(low, -0.5), min(high, volume.shape[a] - 0.5))
    axes.set_aspect('equal')
    axes.set_xticks([])
    axes.set_yticks([])
