# Twelve abdominal anatomies, for small cohorts: nine subjects make five steps an epoch, so there
# are more epochs than in the short schedule.
_base_ = [
    './_base_/models/massm_r18.py',
    './_base_/datasets/abdomen.py',
    './_base_/schedules/short.py',
    './_base_/default_runtime.py',
]
max_epochs = 150
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=60),
    dict(type='CosineAnnealingLR', T_max=max_epochs, eta_min=1e-5, by_epoch=True),
]
custom_hooks = [
    dict(
        type='LossWeightRampHook',
        ramps=dict(
            L_r=[dict(begin=0, value=0.1)],
            L_h=[dict(begin=3, value=10.0)],
            L_l=[dict(begin=3, step=0.5, until=4.0)],
            L_w=[dict(begin=10, step=0.2, until=2.0)],
        ),
    ),
    dict(type='TeacherForcingHook', begin=20, end=70),
    dict(type='CVAEPretrainHook', steps=1500, batch_size=64, lr=1e-3),
]
# The cohort it was made for has no validation split: keep the last checkpoint.
val_cfg = None
val_dataloader = None
val_evaluator = None
default_hooks = dict(checkpoint=dict(interval=25, save_best=None))
