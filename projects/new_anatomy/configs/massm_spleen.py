# The spleen of the phantom cohort alone, with the world head of this project.
_base_ = ['../../../configs/massm_r18_paper.py']
custom_imports = dict(imports=['projects.new_anatomy.scaled_world_head'])
anatomies = ['spleen']
model = dict(world_head=dict(_delete_=True, type='ScaledWorldHead'))
