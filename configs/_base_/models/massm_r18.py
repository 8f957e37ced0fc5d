# A light network for small cohorts and CPUs: ResNet-18 of half the width, ROI pooling by aligned
# trilinear samples (sub-voxel box edges matter at 12 to 16 mm a cell).
_base_ = './massm_r101.py'
model = dict(
    backbone=dict(depth=18, base_channels=32),
    neck=dict(out_channels=32),
    dense_head=dict(feat_channels=32),
    roi_extractor=dict(mode='align'),
    local_head=dict(hidden_channels=(256, 256)),
)
