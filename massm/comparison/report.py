"""What a comparison leaves: ``results.json``, tables, figures and one page."""

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from massm.comparison.job import Job
from massm.comparison.methods import FIGURES, MEASURES, METHODS, REFERENCES
from massm.comparison.page import CURVES, write_comparison_page
from massm.comparison.results import Values, mean_over_seeds, table
from massm.io.atomic import write_text
from massm.visualization.comparison_figures import draw_method_boxes, draw_training_curves

Outcomes = Sequence[tuple[Job, dict[str, Any]]]


def write_report(out: Path, settings: dict[str, Any], outcomes: Outcomes) -> dict[str, Any]:
    """Writes everything to ``out``.

    Returns:
        The content of ``results.json``.
    """
    order = list(METHODS)
    outcomes = sorted(outcomes, key=lambda pair: (pair[0].seed, order.index(pair[0].method.name)))
    methods = list(dict.fromkeys(job.method.name for job, _ in outcomes))
    done = [job for job, outcome in outcomes if outcome['status'] == 'done']
    values = mean_over_seeds([(j.method, j.folder) for j in done], settings['cohort']['anatomies'])
    content = {
        'settings': settings,
        'runs': [
            {'method': job.method.name, 'seed': job.seed, **outcome} for job, outcome in outcomes
        ],
        'tables': {
            measure: _with_seeds(table(values[measure], methods), done) for measure in MEASURES
        },
        'values': values,
    }
    write_text(out / 'results.json', json.dumps(content, indent=1) + '\n')
    _write_figures(out, values, methods, done)
    for figure, measures in FIGURES.items():
        write_text(out / f'{figure}.csv', _as_csv(content['tables'], measures))
    write_comparison_page(out / 'index.html', content, _heat_maps(done))
    return content


def _with_seeds(rows: list[dict[str, Any]], done: Sequence[Job]) -> list[dict[str, Any]]:
    """Of how many runs each row's values are the mean: one may have failed."""
    runs = Counter(job.method.name for job in done)
    return [{**row, 'seeds': runs[row['method']]} for row in rows]


def _write_figures(
    out: Path, values: dict[str, Values], methods: Sequence[str], done: Sequence[Job]
) -> None:
    for figure, measures in FIGURES.items():
        panels = {MEASURES[measure]: values[measure] for measure in measures}
        draw_method_boxes(panels, methods, out / f'{figure}.png')
    folders = {name: [j.folder for j in done if j.method.name == name] for name in methods}
    draw_training_curves(folders, out / f'{CURVES}.png')


def _heat_maps(done: Sequence[Job]) -> dict[str, Path]:
    """Of each method's first run, by its label; methods without local particles have none."""
    first = {job.method.name: job for job in reversed(done)}
    pictures = {job.label: job.folder / 'report/heat_maps.png' for job in first.values()}
    return {label: picture for label, picture in reversed(pictures.items()) if picture.is_file()}


def _as_csv(tables: dict[str, list[dict[str, Any]]], measures: Sequence[str]) -> str:
    text = io.StringIO()
    columns = ['measure', 'anatomy', 'method', 'seeds', 'count', 'mean', 'low', 'high', 'median']
    writer = csv.DictWriter(
        text, [*columns, *(f'p_{r}' for r in REFERENCES)], restval='', lineterminator='\n'
    )
    writer.writeheader()
    for measure in measures:
        writer.writerows({'measure': measure, **row} for row in tables[measure])
    return text.getvalue()
