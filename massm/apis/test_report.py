"""Figures of a test run, and its page."""

from collections.abc import Set
from pathlib import Path

from massm.evaluation.case_prediction import CasePrediction
from massm.evaluation.case_surfaces import CaseSurface, CaseSurfaces
from massm.evaluation.notable import BEST_AND_WORST, notable_cases, notable_shapes
from massm.evaluation.summary import Row
from massm.visualization.box_plots import draw_box_plots
from massm.visualization.case_overlay import draw_case
from massm.visualization.evaluation_page import write_evaluation_page
from massm.visualization.heat_maps import draw_heat_maps


def draw_figures(rows: list[Row], predictions: list[CasePrediction], folder: Path) -> None:
    """Box plots of all errors; slices of the best and the worst case. Those of an earlier test go,
    as the page shows what lies in the folder, and its page."""
    for figure in folder.glob('case_*_*.png'):
        if figure.name.startswith(('case_best_', 'case_worst_')):
            figure.unlink()
    for name in ('rmse.png', 'surface.png', 'heat_maps.png', 'report.html'):
        (folder / name).unlink(missing_ok=True)
    draw_box_plots(rows, folder)
    for label, case in _best_and_worst(rows, predictions).items():
        draw_case(case, folder / f'case_{label}_{case.id}.png')


def write_page(
    metrics: dict[str, dict],
    columns: dict[str, str],
    rows: list[Row],
    predictions: list[CasePrediction],
    root: Path,
    folder: Path,
) -> Path:
    """Writes ``heat_maps.png`` and ``report.html``, which holds all figures of ``folder``.

    Args:
        root: the dataset, whose templates are warped.

    Returns:
        The page's path.
    """
    surfaces = CaseSurfaces(root)
    cases = {case.id: case for case in predictions}
    pairs = _pairs(rows, cases, surfaces)
    if pairs:
        draw_heat_maps(pairs, folder / 'heat_maps.png')
    measured = set(metrics['anatomies'])
    shown = {
        f'{label.capitalize()} case: {case.id}': _whole(case, surfaces, measured)
        for label, case in _best_and_worst(rows, predictions).items()
    }
    path = folder / 'report.html'
    title = folder.parent.name
    write_evaluation_page(path, title, metrics, columns, {k: v for k, v in shown.items() if v})
    return path


def _best_and_worst(
    rows: list[Row], predictions: list[CasePrediction]
) -> dict[str, CasePrediction]:
    cases = {case.id: case for case in predictions}
    return {label: cases[name] for label, name in notable_cases(rows).items() if name in cases}


def _pairs(
    rows: list[Row], cases: dict[str, CasePrediction], surfaces: CaseSurfaces
) -> list[tuple[CaseSurface, CaseSurface]]:
    pairs = []
    for anatomy, ends in notable_shapes(rows).items():
        best, worst = (surfaces.of(cases[ends[end]], anatomy) for end in BEST_AND_WORST)
        if best is not None and worst is not None:
            pairs.append((best, worst))
    return pairs


def _whole(case: CasePrediction, surfaces: CaseSurfaces, measured: Set[str]) -> list[CaseSurface]:
    """The case's anatomies that have a reference, of those ``measured`` in any case."""
    found = (surfaces.of(case, anatomy) for anatomy in case.anatomies if anatomy in measured)
    return [surface for surface in found if surface is not None]
