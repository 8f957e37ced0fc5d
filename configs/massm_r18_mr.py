# Shapes fitted to MR. Lengths are in voxels: prepare small anatomies finely, large ones coarsely.
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
        lengths_in='voxels',
        stages=[
            dict(reach=8.0, beside=3.0, rounds=2, modes=10),
            dict(reach=5.0, beside=2.0, rounds=1, modes=40, reads_region=True),
            dict(reach=3.0, beside=1.5, rounds=1, modes=100, reads_region=True),
        ],
        region=dict(margin=6.0),
        start_std=2.0,
    ),
)
default_hooks = dict(checkpoint=dict(save_best='s2s_mask_mm'))
