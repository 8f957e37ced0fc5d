# Five organs of the head and neck in planning CTs (OpenKBP), contoured in some patients each.
_base_ = './with_masks.py'
data_root = 'data/headneck'
spacing = 4.0
num_particles = 512
anatomies = [
    'brainstem',
    'parotid_gland_left',
    'parotid_gland_right',
    'larynx',
    'mandible',
]
