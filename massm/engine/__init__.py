"""Hooks of the training run and the checkpoint loader."""

from massm.engine.checkpoint import register_safe_loader
from massm.engine.hooks import CVAEPretrainHook, LossWeightRampHook, TeacherForcingHook

__all__ = [
    'CVAEPretrainHook',
    'LossWeightRampHook',
    'TeacherForcingHook',
    'register_safe_loader',
]
