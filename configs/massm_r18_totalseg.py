# Shapes fitted to CTs of the thorax; see docs/decisions/shape-fit.md.
_base_ = [
    './_base_/models/massm_fit.py',
    './_base_/datasets/totalseg.py',
    './_base_/schedules/fit.py',
    './_base_/default_runtime.py',
]
train_pipeline = _base_.train_pipeline
train_pipeline.insert(2, dict(type='LoadMasks'))
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
# All tissues, soft tissue, lung.
windows = ((-1000.0, 1000.0), (-200.0, 400.0), (-1000.0, -600.0))
model = dict(
    data_preprocessor=dict(windows=windows),
    backbone=dict(in_channels=3),
)
# What users see is the surface.
default_hooks = dict(checkpoint=dict(save_best='s2s_mask_mm'))
