# The paper's seven anatomies and settings, on TotalSegmentator.
_base_ = './shape_dataset.py'
data_root = 'data/totalseg'
spacing = 3.0
num_particles = 1024
anatomies = [
    'heart_ventricle_left',
    'heart_ventricle_right',
    'heart_atrium_left',
    'heart_atrium_right',
    'lung_upper_lobe_left',
    'lung_upper_lobe_right',
    'spleen',
]
