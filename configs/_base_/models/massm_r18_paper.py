# The paper's heads on a light network for small cohorts and CPUs: ResNet-18 of half the width, ROI
# pooling by aligned trilinear samples (sub-voxel box edges matter at 12 to 16 mm a cell), and a
# window each for lung and for soft tissue.
_base_ = './massm_r101.py'
model = dict(
    data_preprocessor=dict(
        windows=((-1000.0, -600.0), (-200.0, 400.0)),
    ),
    backbone=dict(depth=18, in_channels=2, base_channels=32),
    neck=dict(out_channels=32),
    dense_head=dict(feat_channels=32),
    roi_extractor=dict(mode='align'),
    local_head=dict(hidden_channels=(256, 256)),
    refine_head=dict(type='ParticleRefineHead', reach=4.0, steps=2),
)
