# The light network on MR.
_base_ = [
    './_base_/models/massm_r18.py',
    './_base_/datasets/mr.py',
    './_base_/schedules/short.py',
    './_base_/default_runtime.py',
]
# All tissue, and the darker half of it.
model = dict(data_preprocessor=dict(windows=((0.0, 1000.0), (0.0, 500.0))))
