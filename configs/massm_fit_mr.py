# Shapes fitted to MR. Lengths in mm suit voxels of 1 mm and small anatomies: with coarser ones
# lengthen reach, beside, margin and start_std alike.
_base_ = [
    './_base_/models/massm_fit.py',
    './_base_/datasets/mr.py',
    './_base_/schedules/fit.py',
    './_base_/default_runtime.py',
]
# All tissue, and the darker half of it.
windows = ((0.0, 1000.0), (0.0, 500.0))
model = dict(
    data_preprocessor=dict(windows=windows),
    backbone=dict(in_channels=2),
    local_head=dict(
        stages=[
            dict(reach=8.0, beside=3.0, rounds=2, modes=10),
            dict(reach=5.0, beside=2.0, rounds=1, modes=40, reads_region=True),
            dict(reach=3.0, beside=1.5, rounds=1, modes=100, reads_region=True),
        ],
        region=dict(margin=6.0),
        start_std=2.0,
    ),
)
val_evaluator = [
    dict(type='DetectionMetric'),
    dict(type='ShapeMetric', surfaces=True),
    dict(type='UncertaintyMetric'),
]
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(save_best='s2s_mask_mm'))
