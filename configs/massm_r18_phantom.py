# The synthetic thorax of tools/make_phantom.py, minutes on two CPU cores.
_base_ = './massm_r18_totalseg.py'
data_root = 'data/phantom'
spacing = 4.0
num_particles = 512
