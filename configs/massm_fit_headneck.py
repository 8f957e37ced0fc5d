# Shapes fitted to planning CTs of the head and neck; see docs/decisions/shape-fit.md.
_base_ = [
    './_base_/models/massm_fit.py',
    './_base_/datasets/headneck.py',
    './_base_/schedules/fit.py',
    './_base_/default_runtime.py',
]
# All tissues, soft tissue, bone.
windows = ((-1000.0, 1000.0), (-160.0, 240.0), (100.0, 1500.0))
model = dict(
    data_preprocessor=dict(windows=windows),
    backbone=dict(in_channels=3),
)
val_evaluator = [
    dict(type='DetectionMetric'),
    dict(type='ShapeMetric', surfaces=True),
    dict(type='UncertaintyMetric'),
]
test_evaluator = val_evaluator
# What users see is the surface.
default_hooks = dict(checkpoint=dict(save_best='s2s_mask_mm'))
