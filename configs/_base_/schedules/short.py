# For tens of subjects on a CPU: the paper's three phases in a fraction of the epochs, with a
# one-cycle learning rate instead of the slow decay.
_base_ = './paper_300e.py'
max_epochs = 60
train_cfg = dict(max_epochs=max_epochs, val_interval=5)
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-2))
param_scheduler = [
    dict(
        type='OneCycleLR',
        eta_max=1e-3,
        total_steps=max_epochs,
        pct_start=0.15,
        by_epoch=True,
        convert_to_iter_based=True,
    )
]
custom_hooks = [
    dict(
        type='LossWeightRampHook',
        ramps=dict(
            L_h=[dict(begin=4, value=40.0)],
            L_l=[dict(begin=4, step=0.5, until=2.0)],
            L_w=[dict(begin=8, step=0.5, until=2.0)],
        ),
    ),
    dict(type='TeacherForcingHook', begin=4, end=14),
    dict(type='CVAEPretrainHook', steps=1500, batch_size=64, lr=1e-3),
]
