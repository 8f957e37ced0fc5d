"""Whether what the network says of its own errors is true."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric

from massm.evaluation.summary import Row, mean_over_anatomies
from massm.evaluation.surface_measures import normals_near
from massm.io.templates import ShapeTemplate, read_templates
from massm.registry import METRICS
from massm.shape.surface_warp import SurfaceWarp
from massm.structures import Grid

# Of a normal distribution within one and within two standard deviations.
WITHIN = {'within_1_std': 1.0, 'within_2_std': 2.0}
ONE_STD_SHARE = 0.683
# What is usual: so many validation shapes are surer than this.
USUAL_SHARE = 0.95
# Fewer do not tell what is usual.
LEAST_CASES = 10


@METRICS.register_module()
class UncertaintyMetric(BaseMetric):
    """One row per subject and whole anatomy, of networks that say how sure they are: the share of
    particles whose true place is within one and two of the predicted standard deviations along the
    predicted surface's normal, and the mean of these (``uncertainty_mm``).

    Also what would have calibrated it, for the hook that does: for anatomy NAME
    ``deviation_factor/NAME``, by which its standard deviations must be multiplied, and
    ``usual_uncertainty/NAME`` (mm), the largest mean that is not unusual, infinite where there are
    too few cases.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rows: list[Row] = []
        self._templates: list[ShapeTemplate] = []
        self._warps: list[SurfaceWarp] = []

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Adds a batch, one entry per sample (mmengine counts on that)."""
        self._load_templates()
        for sample in data_samples:
            whole = [k for k, has in enumerate(sample['has_shape']) if bool(has)]
            knows = 'pred_deviation_mm' in sample
            self.results.append([self._case(sample, k) for k in whole] if knows else [])

    def compute_metrics(self, results: list[list[tuple[Row, np.ndarray]]]) -> dict[str, float]:
        """Means of the anatomies' means, and the factors."""
        cases = [case for cases in results for case in cases]
        self.rows = [row for row, _ in cases]
        values = mean_over_anatomies(self.rows)
        for name in dict.fromkeys(row['anatomy'] for row in self.rows):
            own = [(row, errors) for row, errors in cases if row['anatomy'] == name]
            errors = np.concatenate([errors for _, errors in own])
            factor = float(np.quantile(errors, ONE_STD_SHARE))
            means = [row['uncertainty_mm'] for row, _ in own]
            usual = np.quantile(means, USUAL_SHARE) if len(own) >= LEAST_CASES else np.inf
            values[f'deviation_factor/{name}'] = factor
            values[f'usual_uncertainty/{name}'] = float(factor * usual)
        return values

    def _load_templates(self) -> None:
        if not self._templates:
            meta = self.dataset_meta
            self._templates = read_templates(
                Path(meta['data_root']), meta['anatomies'], meta['num_particles']
            )
            self._warps = [SurfaceWarp(t.mesh.vertices, t.local) for t in self._templates]

    def _case(self, sample: dict, k: int) -> tuple[Row, np.ndarray]:
        """Its row, and ``[M]`` errors along the normal in predicted standard deviations."""
        grid = Grid(sample['image_shape'], sample['affine'])
        local, true = (
            grid.to_patient(sample[key][k].double().cpu().numpy())
            for key in ('pred_local_vox', 'local_vox')
        )
        surface = self._templates[k].mesh.with_vertices(self._warps[k].apply(local))
        across = ((true - local) * normals_near(local, surface)).sum(1)
        deviation = sample['pred_deviation_mm'][k].double().cpu().numpy()
        errors = np.abs(across) / np.maximum(deviation, 1e-6)
        row = {
            'id': sample['id'],
            'anatomy': sample['anatomies'][k],
            'uncertainty_mm': float(deviation.mean()),
            **{key: float((errors <= bound).mean()) for key, bound in WITHIN.items()},
        }
        return row, errors
