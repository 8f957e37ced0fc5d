# The synthetic thorax, minutes on two CPU cores.
_base_ = [
    './_base_/models/massm_r18.py',
    './_base_/datasets/phantom.py',
    './_base_/schedules/short.py',
    './_base_/default_runtime.py',
]
