# Shapes fitted to planning CTs of the head and neck; see docs/decisions/shape-fit.md.
_base_ = [
    './_base_/models/massm_fit.py',
    './_base_/datasets/headneck.py',
    './_base_/schedules/fit.py',
    './_base_/default_runtime.py',
]
# Filters see every patient three times, every other time in a mirror: parotids change sides, the
# others stay. Of other anatomies nothing is mirrored.
mirror = dict(
    type='RandomFlip',
    pairs=[('parotid_gland_left', 'parotid_gland_right')],
    midline=['brainstem', 'larynx', 'mandible'],
    unpaired='skip',
)
custom_hooks = [
    dict(type='CenterPriorHook'),
    dict(type='FilterFitHook', samples=500, starts=2, also=[mirror]),
    dict(type='CalibrationHook'),
]
# All tissues, soft tissue, bone.
windows = ((-1000.0, 1000.0), (-160.0, 240.0), (100.0, 1500.0))
model = dict(
    data_preprocessor=dict(windows=windows),
    backbone=dict(in_channels=3),
    # Voxels of 4 mm show nothing finer.
    local_head=dict(
        stages=[
            dict(reach=24.0, beside=8.0, rounds=2, modes=10),
            dict(reach=12.0, beside=4.0, rounds=2, modes=100, reads_region=True),
        ],
    ),
)
# What users see is the surface.
default_hooks = dict(checkpoint=dict(save_best='s2s_mask_mm'))
