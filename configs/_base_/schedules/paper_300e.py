# The paper's schedule: Adam 1e-4, 0.9 every 20 epochs, 300 epochs; loss weights in three phases.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=300, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='TrainedParametersConstructor',
    optimizer=dict(type='Adam', lr=1e-4, fused=True),
    clip_grad=dict(max_norm=35.0),
)
param_scheduler = [dict(type='StepLR', step_size=20, gamma=0.9, by_epoch=True)]
custom_hooks = [
    dict(
        type='LossWeightRampHook',
        ramps=dict(
            L_h=[dict(begin=20, value=40.0)],
            L_l=[dict(begin=20, step=0.2, until=2.0)],
            L_w=[dict(begin=40, step=0.2, until=2.0)],
        ),
    ),
    dict(type='TeacherForcingHook', begin=20, end=70),
    dict(type='CVAEPretrainHook', steps=2000, batch_size=64, lr=1e-3),
]
val_evaluator = [dict(type='DetectionMetric'), dict(type='ShapeMetric')]
test_evaluator = [dict(type='DetectionMetric'), dict(type='ShapeMetric', surfaces=True)]
