"""Hooks, loop and optimiser of the training run, and the checkpoint loader."""

from massm.engine.budgeted_train_loop import BudgetedTrainLoop
from massm.engine.checkpoint import register_safe_loader
from massm.engine.hooks import CVAEPretrainHook, LossWeightRampHook, TeacherForcingHook
from massm.engine.trained_parameters import TrainedParametersConstructor

__all__ = [
    'BudgetedTrainLoop',
    'CVAEPretrainHook',
    'LossWeightRampHook',
    'TeacherForcingHook',
    'TrainedParametersConstructor',
    'register_safe_loader',
]
