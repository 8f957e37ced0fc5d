# Loaders and pipelines of every prepared dataset. A config sets `data_root`, `anatomies`,
# `num_particles` and `spacing` once, at its top level; loading the config hands them on to the
# model, the datasets and the metrics (massm.apis.config).
load = [dict(type='LoadVolume'), dict(type='LoadParticles')]
train_pipeline = [
    *load,
    dict(type='RandomRemoval', prob=0.5),
    dict(type='RandomFieldOfView', max_cut=0.15, prob=0.2),
    dict(type='RandomWarp', rotation=4.0, scale=0.05, translation=2.0, bend=0.8, bend_spacing=16.0),
    dict(type='RandomIntensity', noise=30.0, shift=30.0, scale=0.1, blur=0.6, prob=0.3),
    dict(type='PackShapeInputs'),
]
test_pipeline = [*load, dict(type='PackShapeInputs')]

train_dataloader = dict(
    batch_size=2,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='SeededSampler', shuffle=True, pool=256),
    dataset=dict(type='ShapeDataset', split='train', pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='SeededSampler', shuffle=False, round_up=False),
    dataset=dict(type='ShapeDataset', split='val', pipeline=test_pipeline, test_mode=True),
)
test_dataloader = dict(
    batch_size=1,
    num_workers=1,
    sampler=dict(type='SeededSampler', shuffle=False, round_up=False),
    dataset=dict(type='ShapeDataset', split='test', pipeline=test_pipeline, test_mode=True),
)
