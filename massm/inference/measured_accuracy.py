"""What a test measured of a model, with intervals over patients."""

import csv
import json
from pathlib import Path
from typing import Any

from massm.evaluation.comparison import Summary, summarise, summarise_anatomies

# What the card tells, and what of the mean shape stands beside it.
MEASURES = (
    's2s_mask_mm',
    's2s_mask_mm_mean_shape_true_center',
    'local_rmse_mm',
    'world_rmse_mm',
    'world_rmse_mm_mean_shape',
    'dice',
)
ALL = 'all'


def measured_accuracy(folder: Path) -> dict[str, Any] | None:
    """The content of ``metrics.json`` in a test's ``folder``, and where ``cases.csv`` lies there
    ``intervals``: of each measure and anatomy the number of ``patients``, the ``mean`` and its 95 %
    bootstrap interval ``low`` to ``high``. None where nothing was tested."""
    metrics, cases = folder / 'metrics.json', folder / 'cases.csv'
    if not metrics.is_file():
        return None
    accuracy: dict[str, Any] = json.loads(metrics.read_text(encoding='utf-8'))
    if cases.is_file():
        with cases.open(encoding='utf-8', newline='') as file:
            rows = list(csv.DictReader(file))
        accuracy['intervals'] = {measure: _intervals(rows, measure) for measure in MEASURES}
    return accuracy


def _intervals(rows: list[dict[str, str]], measure: str) -> dict[str, dict[str, float]]:
    values: dict[str, dict[str, float]] = {}
    for row in rows:
        if row.get(measure):
            values.setdefault(row['anatomy'], {})[row['id']] = float(row[measure])
    each = {name: summarise(list(cases.values())) for name, cases in values.items()}
    each[ALL] = summarise_anatomies(values)
    return {name: _told(summary) for name, summary in each.items() if summary is not None}


def _told(summary: Summary) -> dict[str, float]:
    return {
        'patients': summary.count,
        'mean': summary.mean,
        'low': summary.low,
        'high': summary.high,
    }
