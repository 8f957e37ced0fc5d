"""How large an anatomy is in the training subjects, so that a new one can be placed among them."""

from pathlib import Path

import numpy as np

from massm.cohort.manifest import load_manifest
from massm.io.meshes import read_mesh
from massm.shape.size_measures import SIZES, size_measures

QUANTILES = np.linspace(0, 1, 21)


def population_of(root: Path, anatomies: list[str]) -> dict[str, dict]:
    """Per anatomy the number of whole training shapes and, in steps of 5 %, the quantiles of their
    :func:`massm.shape.size_measures.size_measures`. Generated patients are none of them."""
    manifest = load_manifest(root)
    patients = [s for s in manifest.of_split('train') if not s.is_generated]
    measured: dict[str, dict] = {}
    for name in anatomies:
        entries = [s.anatomies.get(name) for s in patients]
        meshes = [read_mesh(manifest.path(e.mesh)) for e in entries if e and e.has_particles]
        sizes = [size_measures(mesh) for mesh in meshes]
        measured[name] = {
            'train_shapes': len(meshes),
            **{key: _quantiles([size[key] for size in sizes]) for key in SIZES},
        }
    return measured


def quantiles_of(population: dict) -> dict[str, list[float]]:
    """The quantiles that an entry of :func:`population_of` holds; older models measured less."""
    return {key: population[key] for key in SIZES if key in population}


def percentiles(
    measures: dict[str, float], quantiles: dict[str, list[float]]
) -> dict[str, float | None]:
    """The percentile of each of the ``measures`` that has ``quantiles``."""
    return {key: percentile(measures[key], known) for key, known in quantiles.items()}


def percentile(value: float, quantiles: list[float]) -> float | None:
    """Where ``value`` lies among ``quantiles`` (in equal steps), 0 to 100; none without any."""
    if len(quantiles) < 2:
        return None
    steps = np.linspace(0, 100, len(quantiles))
    return round(float(np.interp(value, quantiles, steps)), 1)


def _quantiles(values: list[float]) -> list[float]:
    return np.quantile(values, QUANTILES).round(4).tolist() if values else []
