# The paper's heads, phases and losses on a light network for a CPU, without our refinement, beside
# its rivals (tools/reproduce.py): the windows and the augmentation that all of them have.
_base_ = ['./massm_r18_paper.py']
windows = ((-1000.0, 1000.0), (-160.0, 240.0), (100.0, 1500.0))
model = dict(
    data_preprocessor=dict(windows=windows), backbone=dict(in_channels=3), refine_head=None
)
train_pipeline = [
    dict(type='LoadVolume'),
    dict(type='LoadParticles'),
    dict(type='RandomRemoval', prob=0.2),
    dict(type='RandomFieldOfView', max_cut=0.15, prob=0.2),
    dict(type='RandomWarp', rotation=6.0, scale=0.06, translation=2.0, bend=0.8, bend_spacing=16.0),
    dict(type='RandomIntensity', noise=30.0, shift=30.0, scale=0.1, blur=0.6, prob=0.3),
    dict(type='PackShapeInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
