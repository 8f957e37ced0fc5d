"""Keeps what the network predicted, for files and figures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric

from massm.registry import METRICS
from massm.structures import Grid


@dataclass(frozen=True, eq=False)
class CasePrediction:
    """One subject: particles ``[K, M, 3]`` (patient mm and world mm), scores ``[K]`` and the
    threshold they must reach, the image, the reference masks and surfaces."""

    id: str
    anatomies: list[str]
    scores: np.ndarray
    local_mm: np.ndarray
    world_mm: np.ndarray
    image: Path
    masks: list[Path | None]
    meshes: list[Path | None]
    threshold: float


@METRICS.register_module()
class PredictionStore(BaseMetric):
    """Measures nothing; ``predictions`` holds a :class:`CasePrediction` per subject."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.predictions: list[CasePrediction] = []

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keeps a batch."""
        for sample in data_samples:
            grid = Grid(sample['image_shape'], sample['affine'])
            self.results.append(
                CasePrediction(
                    sample['id'],
                    sample['anatomies'],
                    sample['scores'].cpu().numpy(),
                    grid.to_patient(sample['pred_local_vox'].double().cpu().numpy()),
                    sample['pred_world_mm'].double().cpu().numpy(),
                    sample['image'],
                    sample['mask'],
                    sample['mesh'],
                    float(sample['score_threshold']),
                )
            )

    def compute_metrics(self, results: list[CasePrediction]) -> dict[str, float]:
        """Nothing."""
        self.predictions = results
        return {}
