# The paper's heads, phases and losses on a light network, for the synthetic thorax.
_base_ = [
    './_base_/models/massm_r18_paper.py',
    './_base_/datasets/phantom.py',
    './_base_/schedules/short.py',
    './_base_/default_runtime.py',
]
