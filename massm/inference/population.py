"""How large an anatomy is in the training subjects, so that a new one can be placed among them."""

from pathlib import Path

import numpy as np

from massm.cohort.manifest import load_manifest
from massm.io.meshes import read_mesh

QUANTILES = np.linspace(0, 1, 21)


def population_of(root: Path, anatomies: list[str]) -> dict[str, dict]:
    """Per anatomy the number of whole training shapes and, in steps of 5 %, the quantiles of
    ``volume_ml`` and ``surface_cm2``."""
    manifest = load_manifest(root)
    measured: dict[str, dict] = {}
    for name in anatomies:
        entries = [s.anatomies.get(name) for s in manifest.of_split('train')]
        meshes = [read_mesh(manifest.path(e.mesh)) for e in entries if e and e.has_particles]
        measured[name] = {
            'train_shapes': len(meshes),
            'volume_ml': _quantiles([m.volume() / 1000 for m in meshes]),
            'surface_cm2': _quantiles([m.area() / 100 for m in meshes]),
        }
    return measured


def percentile(value: float, quantiles: list[float]) -> float | None:
    """Where ``value`` lies among ``quantiles`` (in equal steps), 0 to 100; none without any."""
    if len(quantiles) < 2:
        return None
    steps = np.linspace(0, 100, len(quantiles))
    return round(float(np.interp(value, quantiles, steps)), 1)


def _quantiles(values: list[float]) -> list[float]:
    return np.quantile(values, QUANTILES).round(4).tolist() if values else []
