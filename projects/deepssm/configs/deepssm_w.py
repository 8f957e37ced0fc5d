# DeepSSM.w: the image cropped and turned by the true pose to world particles; an upper bound.
_base_ = ['./_base_/deepssm.py']
model = dict(view='aligned', frame='world', canvas=(64, 64, 64), margin_mm=10.0)
default_hooks = dict(checkpoint=dict(save_best='world_rmse_mm'))
