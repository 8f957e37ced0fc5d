# Twelve abdominal and pelvic anatomies.
_base_ = './shape_dataset.py'
data_root = 'data/abdomen'
spacing = 3.0
num_particles = 512
anatomies = [
    'kidney_left',
    'kidney_right',
    'urinary_bladder',
    'gallbladder',
    'sacrum',
    'vertebrae_L1',
    'vertebrae_L2',
    'vertebrae_L3',
    'vertebrae_L4',
    'vertebrae_L5',
    'gluteus_medius_left',
    'gluteus_medius_right',
]
