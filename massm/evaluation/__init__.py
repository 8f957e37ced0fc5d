"""Metrics: where the anatomies are, and how near particles, surfaces and masks come."""

from massm.evaluation.detection_metric import DetectionMetric
from massm.evaluation.shape_metric import ShapeMetric
from massm.evaluation.uncertainty_metric import UncertaintyMetric

__all__ = ['DetectionMetric', 'ShapeMetric', 'UncertaintyMetric']
