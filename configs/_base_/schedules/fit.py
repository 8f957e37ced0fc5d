# Filters of the first rounds are fitted before training; detector and regions learn together, since
# the fit's starts are drawn around the truth; then filters that read the regions are fitted.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=28, val_interval=7)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=1e-3, fused=True),
    clip_grad=dict(max_norm=10.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=60),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True),
]
custom_hooks = [
    dict(type='CenterPriorHook'),
    dict(type='FilterFitHook', samples=200, starts=3),
    dict(type='CalibrationHook'),
]
val_evaluator = [
    dict(type='DetectionMetric'),
    dict(type='ShapeMetric', surfaces=True),
    dict(type='UncertaintyMetric'),
]
test_evaluator = val_evaluator
