"""From every run's cases to one value a patient, and to the tables."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from massm.comparison.methods import MEASURES, REFERENCES, Method
from massm.evaluation.comparison import (
    Summary,
    holm,
    paired_p_value,
    summarise,
    summarise_anatomies,
)

ALL = 'all'
# Of one measure: anatomy to method to patient to value, the mean over seeds.
Values = dict[str, dict[str, dict[str, float]]]


def read_cases(folder: Path, method: Method) -> dict[str, dict[tuple[str, str], float]]:
    """Of each measure the values by anatomy and patient, from a run's ``test/cases.csv``."""
    with (folder / 'test/cases.csv').open(encoding='utf-8', newline='') as file:
        rows = list(csv.DictReader(file))
    found: dict[str, dict[tuple[str, str], float]] = {}
    for measure in MEASURES:
        column = method.column_of(measure)
        found[measure] = {
            (row['anatomy'], row['id']): float(row[column])
            for row in rows
            if column is not None and row.get(column)
        }
    return found


def mean_over_seeds(
    runs: Sequence[tuple[Method, Path]], anatomies: Sequence[str]
) -> dict[str, Values]:
    """Of each measure the mean of every patient's values over a method's runs.

    Args:
        runs: a method and the folder of a run that is done, one for each seed.
    """
    gathered: dict[str, dict[tuple[str, str, str], list[float]]] = {m: {} for m in MEASURES}
    for method, folder in runs:
        for measure, cases in read_cases(folder, method).items():
            for (anatomy, patient), value in cases.items():
                key = (anatomy, method.name, patient)
                gathered[measure].setdefault(key, []).append(value)
    values: dict[str, Values] = {m: {a: {} for a in anatomies} for m in MEASURES}
    for measure, entries in gathered.items():
        for (anatomy, name, patient), found in entries.items():
            values[measure][anatomy].setdefault(name, {})[patient] = float(np.mean(found))
    return values


def table(values: Values, methods: Sequence[str]) -> list[dict[str, Any]]:
    """A row per anatomy and method: its summary, and ``p_REFERENCE`` of the paired test against
    each reference, corrected over the anatomies; the row ``all`` is the mean of the anatomies'
    means, tested on each patient's mean over the anatomies that all have."""
    p_values = {
        (name, reference): _corrected(values, name, reference)
        for name in methods
        for reference in REFERENCES
        if reference in methods and reference != name
    }
    rows = []
    for anatomy in [*values, ALL]:
        for name in methods:
            summary = _summary(values, anatomy, name)
            if summary is None:
                continue
            tests = {
                f'p_{reference}': found[anatomy]
                for (own, reference), found in p_values.items()
                if own == name
            }
            rows.append({'anatomy': anatomy, 'method': name, **asdict(summary), **tests})
    return rows


def _summary(values: Values, anatomy: str, name: str) -> Summary | None:
    if anatomy != ALL:
        return summarise(list(values[anatomy].get(name, {}).values()))
    return summarise_anatomies({a: methods.get(name, {}) for a, methods in values.items()})


def _corrected(values: Values, name: str, reference: str) -> Mapping[str, float | None]:
    tests = {
        anatomy: paired_p_value(methods.get(name, {}), methods.get(reference, {}))
        for anatomy, methods in values.items()
    }
    pairs = [_patient_means(values, own, (name, reference)) for own in (name, reference)]
    return {**holm(tests), ALL: paired_p_value(*pairs)}


def _patient_means(values: Values, name: str, both: tuple[str, str]) -> dict[str, float]:
    """Each patient's mean over those anatomies that ``both`` methods have of it."""
    found: dict[str, list[float]] = {}
    for methods in values.values():
        one, other = (methods.get(own, {}) for own in both)
        for patient in set(one) & set(other):
            found.setdefault(patient, []).append(methods[name][patient])
    return {patient: float(np.mean(cases)) for patient, cases in found.items()}
