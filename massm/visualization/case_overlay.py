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
from massm.structures import Grid
from massm.structures.modality import MODALITIES
from massm.visualization.slices import PLANES, face_patient, pixel_mm, plane_through, show_grey

matplotlib.use('Agg')

# Shown around an anatomy: this share of its extent, and mm.
MARGIN, MARGIN_MM = 0.6, 15.0


def draw_case(case: CasePrediction, path: Path) -> None:
    """Three orthogonal slices through the middle of each anatomy that was found.

    Lines are the reference mask's outline, dots the predicted particles within half a slice. One
    row per anatomy, seen as :func:`massm.visualization.slices.draw_slices` says. Nothing is drawn
    of a case without local particles.
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
        mask = read_mask(case.masks[k])[0] if case.masks[k] is not None else None
        for column, (name, (plane, letters)) in enumerate(PLANES.items()):
            axes = figure.add_subplot(len(shown), 3, 3 * row + column + 1)
            _slice(axes, volume, mask, case.local_mm[k], grid, plane, grey)
            face_patient(axes, plane, letters)
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


def _window(particles: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """From where to where the scan is shown around ``particles``, ``[3]`` patient mm each."""
    corners = grid.corners_mm()
    margin = MARGIN * np.ptp(particles, axis=0) + MARGIN_MM
    low = np.maximum(corners.min(0), particles.min(0) - margin)
    high = np.minimum(corners.max(0), particles.max(0) + margin)
    # Particles may lie beyond the scan; of the scan, then, the nearest part is shown.
    return np.minimum(low, corners.max(0) - MARGIN_MM), np.maximum(high, corners.min(0) + MARGIN_MM)


def _slice(axes, volume, mask, particles, grid, plane, grey) -> None:
    middle = (particles.min(0) + particles.max(0)) / 2
    inside = grid.to_patient(np.clip(grid.to_voxel(middle), 0, np.array(grid.shape) - 1))
    seen = plane_through(inside, *_window(particles, grid), plane, pixel_mm(grid))
    show_grey(axes, seen.of(volume, grid, grey[0]), seen.extent, grey)
    if mask is not None:
        section = seen.of(mask.astype(np.float32), grid, 0)
        if section.any() and not section.all():
            axes.contour(
                section, levels=[0.5], colors=[colormaps['tab10'](9)], linewidths=1,
                origin='lower', extent=seen.extent,
            )  # fmt: skip
    normal, right, up = plane
    thickness = np.abs(grid.affine[normal, :3]).max()
    near = np.abs(particles[:, normal] - inside[normal]) <= thickness / 2
    axes.plot(particles[near, right], particles[near, up], '.', ms=3, color='tab:orange')
    axes.set(xlim=seen.extent[:2], ylim=seen.extent[2:])
