# DeepSSMF.w: the whole image to world particles.
_base_ = ['./_base_/deepssm.py']
model = dict(view='whole', frame='world', canvas=(96, 80, 80))
default_hooks = dict(checkpoint=dict(save_best='world_rmse_mm'))
