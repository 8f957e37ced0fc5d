# The synthetic thorax of tools/make_phantom.py: the paper's anatomies at 4 mm.
_base_ = './totalseg.py'
data_root = 'data/phantom'
spacing = 4.0
num_particles = 512
