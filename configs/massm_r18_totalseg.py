# The light network on the paper's anatomies.
_base_ = [
    './_base_/models/massm_r18.py',
    './_base_/datasets/totalseg.py',
    './_base_/schedules/paper_300e.py',
    './_base_/default_runtime.py',
]
