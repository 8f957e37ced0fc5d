# DeepSSM.l: the whole image to local particles.
_base_ = ['./_base_/deepssm.py']
model = dict(view='whole', frame='local', canvas=(96, 80, 80))
