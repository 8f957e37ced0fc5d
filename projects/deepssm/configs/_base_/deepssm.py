# What all variants share: data, augmentation by the shape model, Adam.
_base_ = [
    '../../../../configs/_base_/datasets/headneck.py',
    '../../../../configs/_base_/default_runtime.py',
]
custom_imports = dict(imports=['projects.deepssm.deepssm', 'projects.deepssm.hooks'])
# All tissues, soft tissue, bone.
windows = ((-1000.0, 1000.0), (-160.0, 240.0), (100.0, 1500.0))
model_wrapper_cfg = dict(type='MMDistributedDataParallel', find_unused_parameters=True)
model = dict(type='DeepSSM', data_preprocessor=dict(type='VolumePreprocessor', windows=windows))
train_pipeline = [
    dict(type='LoadVolume'),
    dict(type='LoadParticles'),
    dict(type='ShapeModelWarp', prob=0.7),
    dict(type='RandomWarp', rotation=6.0, scale=0.06, translation=2.0, bend=0.8, bend_spacing=16.0),
    dict(type='RandomIntensity', noise=30.0, shift=30.0, scale=0.1, blur=0.6, prob=0.3),
    dict(type='PackShapeInputs'),
]
train_dataloader = dict(batch_size=4, dataset=dict(pipeline=train_pipeline))
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=60, val_interval=10)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-3, fused=True))
param_scheduler = [
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True),
]
# The encoder first; then the decoder learns too.
custom_hooks = [
    dict(type='DeepSSMPreparationHook'),
    dict(type='DeepSSMStageHook', begins=[0, 40]),
]
# Steps take seconds.
default_hooks = dict(logger=dict(interval=1))
val_evaluator = [dict(type='ShapeMetric')]
test_evaluator = [dict(type='ShapeMetric', surfaces=True)]
