"""A comparison as one HTML page."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from massm.comparison.methods import FIGURES, MEASURES, METHODS, REFERENCES
from massm.io.atomic import write_text
from massm.visualization.page import embedded_png, html_page, html_table

TITLES = {
    'figure2_rmse': 'Figure 2: error of the particles',
    'figure3_surface': 'Figure 3: distance between surfaces',
}
CURVES = 'training_curves'


def write_comparison_page(
    path: Path, content: Mapping[str, Any], heat_maps: Mapping[str, Path]
) -> None:
    """Writes ``path`` from ``results.json``'s content and the figures beside it.

    Args:
        heat_maps: a method's picture of its best and its worst case of each anatomy.
    """
    body = ['<h1>Methods on one cohort</h1>', _settings(content['settings'])]
    body += ['<h2>Methods</h2>', _methods(content['runs'])]
    for figure, measures in FIGURES.items():
        body.append(f'<h2>{TITLES[figure]}</h2>')
        body.append(_picture(path.parent / f'{figure}.png', TITLES[figure]))
        for measure in measures:
            body.append(f'<h3>{html.escape(MEASURES[measure])}</h3>')
            body.append(_table(content['tables'][measure], measure))
    for name, picture in heat_maps.items():
        title = f'Figures 4 to 6: {name}, best and worst case'
        body += [f'<h2>{html.escape(title)}</h2>', _picture(picture, title)]
    body += ['<h2>Training</h2>', _picture(path.parent / f'{CURVES}.png', 'Training curves')]
    write_text(path, html_page('Methods on one cohort', body))


def _settings(settings: Mapping[str, Any]) -> str:
    cohort = settings['cohort']
    patients = f'{len(cohort["select"])} validation patients chose the checkpoints'
    return (
        f'<p>{html.escape(cohort["root"])}: {", ".join(cohort["anatomies"])}; '
        f'{cohort["num_particles"]} particles, {cohort["spacing"]:g} mm.</p>'
        f'<p>{settings["budget_minutes"]:g} minutes of training each, all anatomies together, '
        f'validation not counted. {patients}; of {len(cohort["table"])} others '
        f'({cohort["table_split"]}) those who have the anatomy whole make the tables, each patient '
        'the mean over seeds. Intervals: 95 % bootstrap over patients. p: paired Wilcoxon test, '
        'Holm-corrected over the anatomies.</p>'
    )


def _methods(runs: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for run in runs:
        name = run['method']
        if run['status'] == 'done':
            cells = [
                f'{run["training_s"] / 60:.1f}',
                f'{run["preparation_s"] / 60:.1f}',
                f'{run["cpu_s"] / 60:.1f}',
                str(run['steps']),
                f'{run["passes"]}',
                f'{run["test_s"] / max(run["test_patients"], 1):.1f}',
                f'{run["memory_mb"] / 1024:.1f}',
                f'{run["gpu_memory_mb"] / 1024:.1f}' if 'gpu_memory_mb' in run else '-',
            ]
            words = METHODS[name].note
        else:
            cells, words = 8 * ['-'], f'failed: {run["sentence"]}'
        values = ''.join(f'<td>{cell}</td>' for cell in [str(run['seed']), *cells])
        rows.append(
            f'<tr><td>{html.escape(name)}</td>{values}'
            f'<td class="text">{html.escape(words)}</td></tr>'
        )
    columns = (
        'method', 'seed', 'training min', 'of it before the first step',
        'CPU min', 'steps', 'passes', 'test s a patient',
        'memory GiB', 'GPU GiB', '',
    )  # fmt: skip
    return html_table(columns, ''.join(rows), 'Methods')


def _table(rows: Sequence[Mapping[str, Any]], measure: str) -> str:
    tested = [r for r in REFERENCES if any(f'p_{r}' in row for row in rows)]
    lines = []
    for row in rows:
        cells = [
            row['method'],
            str(row['seeds']),
            str(row['count']),
            f'{row["mean"]:.2f}',
            f'{row["low"]:.2f} to {row["high"]:.2f}',
            f'{row["median"]:.2f}',
            *(_p(row.get(f'p_{reference}')) for reference in tested),
        ]
        values = ''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)
        lines.append(f'<tr><td>{html.escape(row["anatomy"])}</td>{values}</tr>')
    columns = (
        'anatomy', 'method', 'seeds', 'patients', 'mean', '95 %', 'median',
        *(f'p, {r}' for r in tested),
    )  # fmt: skip
    return html_table(columns, ''.join(lines), MEASURES[measure])


def _p(value: float | None) -> str:
    if value is None:
        return '-'
    return '<0.001' if value < 0.001 else f'{value:.3f}'


def _picture(path: Path, words: str) -> str:
    return embedded_png(path.read_bytes(), words) if path.is_file() else '<p>Nothing to draw.</p>'
