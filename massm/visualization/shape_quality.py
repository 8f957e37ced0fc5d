"""``quality.png`` of a shape folder: how the population varies, and the subjects to look at."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from massm.io.atomic import replacing
from massm.io.meshes import read_mesh
from massm.io.particles import read_particles
from massm.io.templates import read_template_folder
from massm.shape.pdm import PointDistributionModel
from massm.shape.surface import surface_distance
from massm.shape.surface_warp import SurfaceWarp
from massm.structures import Mesh
from massm.visualization.surface_image import FRONT, half_width, surface_image

matplotlib.use('Agg')

MODES, DEVIATIONS = 3, (-3.0, 0.0, 3.0)
WORST = 3
QUALITY_PICTURE = 'quality.png'


def draw_quality(folder: Path, stats: dict[str, Any]) -> Path:
    """Draws the mean and ±3 standard deviations of the first modes, coloured by how far the surface
    moves in or out, and the worst subjects, coloured by the distance of their surface from the
    template warped by their particles (both mm).

    Returns:
        The picture's path.
    """
    stored = read_template_folder(folder, folder.name)
    template, pdm = stored.mesh, stored.pdm
    warp = SurfaceWarp(template.vertices, stored.local)
    modes = min(MODES, len(pdm))
    rows = modes + 1
    figure = Figure(figsize=(8.5, 2.7 * rows), layout='constrained')
    _draw_modes(figure, template, warp, pdm, modes)
    _draw_worst(figure, folder, template, warp, stats, rows)
    path = folder / QUALITY_PICTURE
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=90)
    return path


def _draw_modes(
    figure: Figure, template: Mesh, warp: SurfaceWarp, pdm: PointDistributionModel, modes: int
) -> None:
    normals = template.vertex_normals()
    shapes = {}
    for mode in range(modes):
        for deviation in DEVIATIONS:
            coefficients = np.zeros(len(pdm))
            coefficients[mode] = deviation
            shapes[mode, deviation] = warp.apply(pdm.instance(coefficients))
    mean = warp.apply(pdm.mean)
    half = half_width([mean, *shapes.values()], FRONT)
    moved = {key: ((shape - mean) * normals).sum(1) for key, shape in shapes.items()}
    largest = max((float(np.abs(m).max()) for m in moved.values()), default=1.0)
    scale, colours = Normalize(-largest, largest), colormaps['RdBu_r']
    for (mode, deviation), shape in shapes.items():
        column = DEVIATIONS.index(deviation)
        axes = figure.add_subplot(modes + 1, 3, 3 * mode + column + 1)
        values = scale(moved[mode, deviation]).data
        axes.imshow(surface_image(template.with_vertices(shape), values, colours, FRONT, half))
        share = 100 * pdm.variances[mode] / pdm.variances.sum()
        label = 'mean' if deviation == 0 else f'{deviation:+.0f} SD'
        axes.set_title(f'mode {mode + 1} ({share:.0f} %)  {label}', fontsize=9)
        axes.set_axis_off()
        if column == 2:
            bar = ScalarMappable(scale, colours)
            figure.colorbar(bar, ax=axes, label='outward, mm', shrink=0.8)


def _draw_worst(
    figure: Figure,
    folder: Path,
    template: Mesh,
    warp: SurfaceWarp,
    stats: dict[str, Any],
    rows: int,
) -> None:
    quality = stats['quality']
    worst = sorted(quality, key=lambda name: -quality[name]['surface_distance_mm'])[:WORST]
    surfaces, distances = [], []
    for name in worst:
        local = read_particles(folder / 'local' / f'{name}.particles')
        surfaces.append(read_mesh(folder / 'meshes' / f'{name}.ply'))
        warped = template.with_vertices(warp.apply(local))
        distances.append(surface_distance(surfaces[-1].vertices, warped))
    largest = max((float(np.percentile(d, 99)) for d in distances), default=1.0)
    half = half_width([surface.vertices for surface in surfaces], FRONT) if surfaces else 1.0
    scale, colours = Normalize(0, max(largest, 1e-6), clip=True), colormaps['viridis']
    for column, (name, surface, distance) in enumerate(
        zip(worst, surfaces, distances, strict=True)
    ):
        axes = figure.add_subplot(rows, 3, 3 * (rows - 1) + column + 1)
        axes.imshow(surface_image(surface, scale(distance).data, colours, FRONT, half))
        mean = quality[name]['surface_distance_mm']
        axes.set_title(f'worst {column + 1}: {name} ({mean:.2f} mm)', fontsize=9)
        axes.set_axis_off()
        if column == len(worst) - 1:
            bar = ScalarMappable(scale, colours)
            figure.colorbar(bar, ax=axes, label='surface distance, mm', shrink=0.8)
