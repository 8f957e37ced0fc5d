"""Found, missed and false anatomies; how well their boxes sit."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric

from massm.evaluation.summary import Row, mean_over_anatomies
from massm.registry import METRICS
from massm.structures import AnatomyStatus, Boxes3D


@METRICS.register_module()
class DetectionMetric(BaseMetric):
    """One row per subject and anatomy.

    A whole anatomy is ``found`` when its score reaches the threshold and the predicted centre lies
    in the true box, else ``missed``. An absent one whose score reaches the threshold is ``false``.
    Truncated anatomies count nowhere, and one that nobody annotated has no row.

    Args:
        score_threshold: lowest score that says an anatomy is there; by default the model's of each.
    """

    def __init__(self, score_threshold: float | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.score_threshold = score_threshold
        self.rows: list[Row] = []

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Adds the rows of a batch, one entry per sample (mmengine counts on that)."""
        for sample in data_samples:
            thresholds = [float(threshold) for threshold in sample['score_thresholds']]
            if self.score_threshold is not None:
                thresholds = [self.score_threshold] * len(thresholds)
            self.results.append(detection_rows(sample, thresholds))

    def compute_metrics(self, results: list[list[Row]]) -> dict[str, float]:
        """Totals of found, missed, false; means of the rest."""
        self.rows = [row for rows in results for row in rows]
        return mean_over_anatomies(self.rows)


def detection_rows(sample: dict, thresholds: Sequence[float]) -> list[Row]:
    """Rows of one sample with keys ``found``, ``missed``, ``false``, ``center_error_mm``,
    ``box_iou``; a key is left out where it says nothing, and all rows are of a network that
    predicts no boxes or no scores. ``thresholds`` are the anatomies', ``[K]``."""
    if 'pred_boxes' not in sample or 'scores' not in sample:
        return []
    predicted, true = Boxes3D(sample['pred_boxes'].cpu()), Boxes3D(sample['boxes'].cpu())
    overlap = predicted.iou(true)
    offset = (predicted.center - true.center).abs()
    within = true.holds(predicted.center)
    rows = []
    for k, anatomy in enumerate(sample['anatomies']):
        status = AnatomyStatus(sample['status'][k])
        if not status.is_labelled:
            continue
        score = float(sample['scores'][k])
        row = {'id': sample['id'], 'anatomy': anatomy, 'status': status.value, 'score': score}
        if status.is_missing:
            row['false'] = int(score >= thresholds[k])
        elif bool(sample['has_box'][k]):
            found = score >= thresholds[k] and bool(within[k])
            row.update(found=int(found), missed=int(not found))
            row['center_error_mm'] = float(np.linalg.norm(offset[k]) * sample['spacing'])
            row['box_iou'] = float(overlap[k])
        rows.append(row)
    return rows
