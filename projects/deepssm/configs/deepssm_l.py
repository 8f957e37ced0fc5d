# DeepSSM.l: the whole image to local particles.
_base_ = ['./_base_/deepssm.py']
train_pipeline = _base_.train_pipeline
# The scan's middle, which it is shown about, is not always at the same place in the patient.
train_pipeline.insert(3, dict(type='RandomFieldOfView', max_cut=0.15, prob=0.2))
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
model = dict(view='whole', frame='local', canvas=350_000)
