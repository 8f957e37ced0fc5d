"""Errors of particles, surfaces and masks, beside two yardsticks that cost nothing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric

from massm.evaluation.agreement import paired_scores, paired_sizes
from massm.evaluation.summary import Row, mean_over_anatomies
from massm.evaluation.surface_measures import SurfaceReference, split_errors
from massm.io.templates import ShapeTemplate, read_templates
from massm.registry import METRICS
from massm.shape.metrics import axis_rmse, mean_point_error
from massm.shape.surface import surface_distance
from massm.shape.surface_warp import SurfaceWarp
from massm.structures import Grid, Mesh

# Yardsticks' names, and which of their measures are kept.
AT_TRUE, AT_PREDICTED = 'mean_shape_true_center', 'mean_shape_predicted_center'
YARDSTICK_MEASURES = ('s2s_mask_mm', 'dice')


@METRICS.register_module()
class ShapeMetric(BaseMetric):
    """One row per subject and whole anatomy, whatever its score: a network that is unsure must
    not look better for it. All in mm, in the patient (local) or in shape space (world). What a
    network does not predict is not measured.

    Args:
        surfaces: also warp the template and measure surfaces and masks (needs Open3D).
    """

    def __init__(self, surfaces: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.surfaces = surfaces
        self.rows: list[Row] = []
        self._templates: list[ShapeTemplate] = []
        self._warps: list[SurfaceWarp] = []

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Adds the rows of a batch, one entry per sample (mmengine counts on that)."""
        self._load_templates()
        for sample in data_samples:
            whole = [k for k, has in enumerate(sample['has_shape']) if bool(has)]
            self.results.append([self._row(sample, k) for k in whole])

    def compute_metrics(self, results: list[list[Row]]) -> dict[str, float]:
        """Means of the anatomies' means."""
        self.rows = [row for rows in results for row in rows]
        return mean_over_anatomies(self.rows)

    def _load_templates(self) -> None:
        if self._templates:
            return
        meta = self.dataset_meta
        self._templates = read_templates(
            Path(meta['data_root']), meta['anatomies'], meta['num_particles']
        )
        if self.surfaces:
            self._warps = [SurfaceWarp(t.mesh.vertices, t.local) for t in self._templates]

    def _row(self, sample: dict, k: int) -> Row:
        grid = Grid(sample['image_shape'], sample['affine'])
        true = grid.to_patient(_points(sample['local_vox'][k]))
        mean = self._templates[k].mean_world
        centers = {AT_TRUE: _middle(true)}
        if 'pred_boxes' in sample:
            centers[AT_PREDICTED] = grid.to_patient(_points(sample['pred_boxes'][k, :3]))
        yardsticks = {at: _at(mean, center) for at, center in centers.items()}
        row = {
            'id': sample['id'],
            'anatomy': sample['anatomies'][k],
            **{f'local_rmse_mm_{at}': axis_rmse(shape, true) for at, shape in yardsticks.items()},
        }
        world, local = self._world_row(sample, k, row), None
        if 'pred_local_vox' in sample:
            local = grid.to_patient(_points(sample['pred_local_vox'][k]))
            row['local_rmse_mm'] = axis_rmse(local, true)
            row['local_error_mm'] = mean_point_error(local, true)
        if self.surfaces and world is not None:
            row['s2s_world_mm'] = self._between(k, world, _points(sample['world_mm'][k]))
        # Shapes may come into a dataset without a mask.
        if self.surfaces and sample['mesh'][k] is not None and sample['mask'][k] is not None:
            reference = SurfaceReference.read(sample['mesh'][k], sample['mask'][k])
            row.update(self._surface_row(k, local, true, yardsticks, reference))
            if 'pred_masks' in sample:
                row.update(reference.measure_mask(sample['pred_masks'][k].cpu().numpy()))
        return row

    def _world_row(self, sample: dict, k: int, row: Row) -> np.ndarray | None:
        """Adds the errors of world particles, and returns the predicted ones where there are."""
        true, pdm = _points(sample['world_mm'][k]), self._templates[k].pdm
        row['world_rmse_mm_mean_shape'] = axis_rmse(pdm.mean, true)
        if 'pred_world_mm' not in sample:
            return None
        world = _points(sample['pred_world_mm'][k])
        row['world_rmse_mm'] = axis_rmse(world, true)
        row['world_error_mm'] = mean_point_error(world, true)
        row.update(paired_scores(pdm, world, true))
        return world

    def _surface_row(
        self,
        k: int,
        local: np.ndarray | None,
        true: np.ndarray,
        yardsticks: dict[str, np.ndarray],
        reference: SurfaceReference,
    ) -> dict[str, float]:
        row = {}
        if local is not None:
            row['s2s_particles_mm'] = self._between(k, local, true)
            surface = self._surface(k, local)
            row.update(reference.measure(surface))
            row.update(paired_sizes(surface, reference.mesh))
            row.update(split_errors(local, true, self._surface(k, true)))
        for at, shape in yardsticks.items():
            measured = reference.measure(self._surface(k, shape))
            row.update({f'{key}_{at}': measured[key] for key in YARDSTICK_MEASURES})
        return row

    def _between(self, k: int, predicted: np.ndarray, true: np.ndarray) -> float:
        """Mean distance from the surface warped by ``predicted`` particles to that by the ``true``
        ones, one way, mm."""
        warped = self._surface(k, predicted)
        return float(surface_distance(warped.vertices, self._surface(k, true)).mean())

    def _surface(self, k: int, particles: np.ndarray) -> Mesh:
        """The template's surface warped to ``particles``."""
        return self._templates[k].mesh.with_vertices(self._warps[k].apply(particles))


def _points(tensor: torch.Tensor) -> np.ndarray:
    return tensor.double().cpu().numpy()


def _middle(points: np.ndarray) -> np.ndarray:
    return (points.min(0) + points.max(0)) / 2


def _at(shape: np.ndarray, center: np.ndarray) -> np.ndarray:
    """``shape`` moved so that the middle of its extent is ``center``."""
    return shape - _middle(shape) + center
