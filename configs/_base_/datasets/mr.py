# MR: values are 0 without signal and 1000 in bright tissue, whatever the scanner's own were. The
# two parts of the hippocampus in the Medical Segmentation Decathlon's Task04, as it comes.
_base_ = './with_masks.py'
data_root = 'data/hippocampus'
modality = 'mr'
spacing = 1.0
num_particles = 256
anatomies = ['Anterior', 'Posterior']
train_pipeline = [
    dict(type='LoadVolume'),
    dict(type='LoadParticles'),
    dict(type='LoadMasks'),
    dict(type='RandomRemoval', prob=0.2),
    dict(type='RandomFieldOfView', max_cut=0.15, prob=0.2),
    dict(type='RandomWarp', rotation=6.0, scale=0.06, translation=2.0, bend=0.8, bend_spacing=16.0),
    dict(type='RandomMRIntensity', bias=0.2, gamma=(0.7, 1.5), scale=0.15, noise=30.0, prob=0.3),
    dict(type='PackShapeInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
