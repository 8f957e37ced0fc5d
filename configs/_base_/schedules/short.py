# For tens of subjects on a CPU: the paper's three phases in a fraction of the epochs, with a
# warmed-up cosine learning rate instead of the slow decay.
_base_ = './paper_300e.py'
train_cfg = dict(max_epochs=85, val_interval=10)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-3, weight_decay=1e-2, fused=True)
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=60),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True),
]
custom_hooks = [
    dict(
        type='LossWeightRampHook',
        ramps=dict(
            L_r=[dict(begin=0, value=0.1)],
            L_h=[dict(begin=1, value=10.0)],
            L_l=[dict(begin=1, step=1.0, until=4.0)],
            L_w=[dict(begin=4, step=0.5, until=2.0)],
        ),
    ),
    dict(type='TeacherForcingHook', begin=10, end=40),
    dict(type='CVAEPretrainHook', steps=1500, batch_size=64, lr=1e-3),
]
