"""Errors of particles, surfaces and masks, beside two yardsticks that cost nothing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric

from massm.evaluation.summary import Row, mean_over_anatomies
from massm.io.meshes import read_mesh
from massm.io.nifti import read_mask
from massm.io.templates import ShapeTemplate, read_template
from massm.registry import METRICS
from massm.shape.metrics import axis_rmse, dice, hausdorff95, mean_point_error
from massm.shape.surface import surface_distance, voxelise
from massm.shape.surface_warp import SurfaceWarp
from massm.structures import Grid


@METRICS.register_module()
class ShapeMetric(BaseMetric):
    """One row per subject and whole anatomy, whatever its score: a network that is unsure must
    not look better for it. All in mm, in the patient (local) or in shape space (world).

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
        self._templates = [
            read_template(Path(meta['data_root']), name, meta['num_particles'])
            for name in meta['anatomies']
        ]
        if self.surfaces:
            self._warps = [SurfaceWarp(t.mesh.vertices, t.local) for t in self._templates]

    def _row(self, sample: dict, k: int) -> Row:
        grid = Grid(sample['image_shape'], sample['affine'])
        local = grid.to_patient(sample['pred_local_vox'][k].double().cpu().numpy())
        true = grid.to_patient(sample['local_vox'][k].double().cpu().numpy())
        world = sample['pred_world_mm'][k].double().cpu().numpy()
        true_world = sample['world_mm'][k].double().cpu().numpy()
        center = grid.to_patient(sample['pred_boxes'][k, :3].double().cpu().numpy())
        mean = self._templates[k].mean_world
        row = {
            'id': sample['id'],
            'anatomy': sample['anatomies'][k],
            'local_rmse_mm': axis_rmse(local, true),
            'world_rmse_mm': axis_rmse(world, true_world),
            'local_error_mm': mean_point_error(local, true),
            'world_error_mm': mean_point_error(world, true_world),
            'local_rmse_mm_mean_shape_true_center': axis_rmse(_at(mean, _middle(true)), true),
            'local_rmse_mm_mean_shape_predicted_center': axis_rmse(_at(mean, center), true),
            'world_rmse_mm_mean_shape': axis_rmse(mean, true_world),
        }
        if self.surfaces:
            row.update(self._surface_row(k, local, true, sample['mesh'][k], sample['mask'][k]))
        return row

    def _surface_row(
        self, k: int, local: np.ndarray, true: np.ndarray, mesh: Path, mask: Path
    ) -> dict[str, float]:
        template, warp = self._templates[k].mesh, self._warps[k]
        predicted = template.with_vertices(warp.apply(local))
        by_particles = template.with_vertices(warp.apply(true))
        reference = read_mesh(mesh)
        forward = surface_distance(predicted.vertices, reference)
        backward = surface_distance(reference.vertices, predicted)
        true_mask, grid = read_mask(mask)
        return {
            's2s_particles_mm': float(surface_distance(predicted.vertices, by_particles).mean()),
            's2s_mask_mm': float((forward.mean() + backward.mean()) / 2),
            'hd95_mm': hausdorff95(forward, backward),
            'dice': dice(voxelise(predicted, grid), true_mask),
        }


def _middle(points: np.ndarray) -> np.ndarray:
    return (points.min(0) + points.max(0)) / 2


def _at(shape: np.ndarray, center: np.ndarray) -> np.ndarray:
    """``shape`` moved so that the middle of its extent is ``center``."""
    return shape - _middle(shape) + center
