# TL-DeepSSM of the same images: an autoencoder of particles, whose codes the image encoder learns.
_base_ = ['./deepssm_w.py']
model = dict(decoder='tl')
custom_hooks = [
    dict(type='DeepSSMPreparationHook'),
    dict(type='DeepSSMStageHook', begins=[0, 27, 54]),
]
