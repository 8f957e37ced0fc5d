# Twelve abdominal anatomies, for small cohorts.
_base_ = [
    './_base_/models/massm_r18.py',
    './_base_/datasets/abdomen.py',
    './_base_/schedules/short.py',
    './_base_/default_runtime.py',
]
# The cohort it was made for has no validation split: keep the last checkpoint.
val_cfg = None
val_dataloader = None
val_evaluator = None
default_hooks = dict(checkpoint=dict(save_best=None))
