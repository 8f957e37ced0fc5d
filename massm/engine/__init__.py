"""Hooks and optimiser of the training run, and the checkpoint loader."""

from massm.engine.checkpoint import register_safe_loader
from massm.engine.hooks import CVAEPretrainHook, LossWeightRampHook, TeacherForcingHook
from massm.engine.trained_parameters import TrainedParametersConstructor

__all__ = [
    'CVAEPretrainHook',
    'LossWeightRampHook',
    'TeacherForcingHook',
    'TrainedParametersConstructor',
    'register_safe_loader',
]
