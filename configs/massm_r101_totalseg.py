# The paper's settings.
_base_ = [
    './_base_/models/massm_r101.py',
    './_base_/datasets/totalseg.py',
    './_base_/schedules/paper_300e.py',
    './_base_/default_runtime.py',
]
