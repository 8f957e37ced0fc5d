# One UNet for all anatomies; what nobody annotated teaches nothing.
_base_ = [
    '../../../configs/_base_/datasets/headneck.py',
    '../../../configs/_base_/default_runtime.py',
]
custom_imports = dict(imports=['projects.unet.unet_shapes'])
# All tissues, soft tissue, bone.
windows = ((-1000.0, 1000.0), (-160.0, 240.0), (100.0, 1500.0))
model = dict(
    type='UNetShapes',
    data_preprocessor=dict(type='VolumePreprocessor', windows=windows, size_divisor=16),
    network=dict(type='UNet', channels=(16, 32, 64, 128, 256), num_res_units=2),
)
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
custom_hooks = []
val_evaluator = [dict(type='DetectionMetric'), dict(type='ShapeMetric', surfaces=True)]
test_evaluator = val_evaluator
# Not by distance: one organ that is not learnt yet, drawn far off, would outweigh all others.
default_hooks = dict(checkpoint=dict(save_best='dice_drawn_mask', rule='greater'))
