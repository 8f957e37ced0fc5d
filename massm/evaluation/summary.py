"""From rows per case and anatomy to means per anatomy and over anatomies."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from massm.evaluation.agreement import PAIRED

COUNTS = ('found', 'missed', 'false')
# Of a row, what is no measure.
LABELS = ('id', 'anatomy', 'status', 'score', *PAIRED)
Row = dict[str, Any]
# Beside ``metrics.json``: of which checkpoint, split and shape models that is.
TESTED = 'tested.json'


def merge_rows(*tables: list[Row]) -> list[Row]:
    """One row per case and anatomy with the columns of all tables."""
    merged: dict[tuple[str, str], Row] = {}
    for row in (row for table in tables for row in table):
        merged.setdefault((row['id'], row['anatomy']), {}).update(row)
    return list(merged.values())


def by_anatomy(rows: list[Row]) -> dict[str, dict[str, float]]:
    """Per anatomy: the sum of each count and the mean of every other measure where it exists."""
    names = list(dict.fromkeys(row['anatomy'] for row in rows))
    return {name: mean_of([r for r in rows if r['anatomy'] == name]) for name in names}


def mean_over_anatomies(rows: list[Row]) -> dict[str, float]:
    """Counts are totals; every other measure is the mean of the anatomies' means."""
    return mean_of(list(by_anatomy(rows).values()))


def mean_of(tables: Sequence[Row]) -> dict[str, float]:
    """Of several rows the sum of each count and the mean of every other measure where it exists."""
    keys = dict.fromkeys(key for table in tables for key in table if key not in LABELS)
    result = {}
    for key in keys:
        values = [table[key] for table in tables if key in table]
        result[key] = float(np.sum(values) if key in COUNTS else np.mean(values))
    return result


def with_mean(metrics: dict[str, dict]) -> dict[str, dict]:
    """The rows of a table from the content of ``metrics.json``: each anatomy, then ``all``."""
    return {**metrics['anatomies'], 'all': metrics['mean']}


def shown(key: str, value: float | None) -> str:
    """A measure as a table tells it: a count whole, any other to three digits, ``-`` for none."""
    if value is None:
        return '-'
    return f'{value:.0f}' if key in COUNTS else f'{value:.3g}'
