"""What a test measured of a model, with intervals over patients."""

import csv
import json
from pathlib import Path
from typing import Any

from massm.evaluation.comparison import Summary, summarise, summarise_anatomies
from massm.evaluation.summary import TESTED
from massm.io.digest import content_digest

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


def accuracy_of(checkpoint: Path) -> dict[str, Any] | None:
    """:func:`measured_accuracy` of the ``test`` folder beside ``checkpoint``; None, and why is
    printed, where that does not say that it is of this very file and of subjects that were not
    trained on."""
    folder = checkpoint.parent / 'test'
    accuracy = measured_accuracy(folder)
    if accuracy is not None and (reason := _not_of(folder / TESTED, checkpoint)):
        print(f'{folder}: {reason}; the model card quotes no accuracy, run `massm test` for one')
        return None
    return accuracy


def _not_of(tested: Path, checkpoint: Path) -> str:
    """Why what was ``tested`` is not to be quoted of ``checkpoint``; empty where it is."""
    try:
        known = json.loads(tested.read_text(encoding='utf-8'))
        digest, split = known['checkpoint'], known['split']
    except (OSError, ValueError, KeyError, TypeError):
        return 'does not say which checkpoint was tested'
    if digest != content_digest(checkpoint):
        return f'is of another checkpoint than {checkpoint.name}'
    return 'is of training subjects' if split == 'train' else ''


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
