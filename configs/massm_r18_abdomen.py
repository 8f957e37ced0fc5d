# Shapes of twelve abdominal anatomies fitted to CTs, for small cohorts: nine subjects make five
# steps an epoch, so there are more epochs than in the base schedule.
_base_ = [
    './_base_/models/massm_fit.py',
    './_base_/datasets/abdomen.py',
    './_base_/schedules/fit.py',
    './_base_/default_runtime.py',
]
train_pipeline = _base_.train_pipeline
train_pipeline.insert(2, dict(type='LoadMasks'))
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
# All tissues, soft tissue, bone.
windows = ((-1000.0, 1000.0), (-160.0, 240.0), (100.0, 1500.0))
model = dict(
    data_preprocessor=dict(windows=windows),
    backbone=dict(in_channels=3),
)
train_cfg = dict(max_epochs=100)
# The cohort it was made for has no validation split: keep the last checkpoint.
val_cfg = None
val_dataloader = None
val_evaluator = None
default_hooks = dict(checkpoint=dict(interval=25, save_best=None))
