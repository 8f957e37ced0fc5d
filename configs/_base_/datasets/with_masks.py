# The same with masks, for networks that draw them.
_base_ = './shape_dataset.py'
load = [dict(type='LoadVolume'), dict(type='LoadParticles')]
train_pipeline = [
    *load,
    dict(type='LoadMasks'),
    dict(type='RandomRemoval', prob=0.2),
    dict(type='RandomFieldOfView', max_cut=0.15, prob=0.2, through=0.25),
    dict(type='RandomWarp', rotation=6.0, scale=0.06, translation=2.0, bend=0.8, bend_spacing=16.0),
    dict(type='RandomIntensity', noise=30.0, shift=30.0, scale=0.1, blur=0.6, prob=0.3),
    dict(type='PackShapeInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
