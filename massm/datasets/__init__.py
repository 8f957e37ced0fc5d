"""Prepared datasets: writing them, reading them, augmenting them."""

from massm.datasets.samplers import SeededSampler
from massm.datasets.shape_dataset import ShapeDataset

__all__ = ['SeededSampler', 'ShapeDataset']
