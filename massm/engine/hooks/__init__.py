"""Schedules of MASSM's training, one hook a file."""

from massm.engine.hooks.calibration_hook import CalibrationHook
from massm.engine.hooks.center_prior_hook import CenterPriorHook
from massm.engine.hooks.cvae_pretrain_hook import CVAEPretrainHook
from massm.engine.hooks.filter_fit_hook import FilterFitHook
from massm.engine.hooks.fine_tuning_hook import FineTuningHook
from massm.engine.hooks.loss_weight_ramp_hook import LossWeightRampHook
from massm.engine.hooks.model_settings_hook import ModelSettingsHook
from massm.engine.hooks.optimiser_layout_hook import OptimiserLayoutHook
from massm.engine.hooks.prediction_hook import PredictionHook
from massm.engine.hooks.score_threshold_hook import ScoreThresholdHook
from massm.engine.hooks.teacher_forcing_hook import TeacherForcingHook
from massm.engine.hooks.validated_checkpoint_hook import ValidatedCheckpointHook

__all__ = [
    'CVAEPretrainHook',
    'CalibrationHook',
    'CenterPriorHook',
    'FilterFitHook',
    'FineTuningHook',
    'LossWeightRampHook',
    'ModelSettingsHook',
    'OptimiserLayoutHook',
    'PredictionHook',
    'ScoreThresholdHook',
    'TeacherForcingHook',
    'ValidatedCheckpointHook',
]
