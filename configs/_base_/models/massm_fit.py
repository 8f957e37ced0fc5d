# Shapes fitted to the image: the network says where each anatomy is, on a map of two voxels a cell,
# and ShapeFitHead takes the place of ROI pooling, regression and world head.
_base_ = './massm_r18_paper.py'
model = dict(
    # The first convolution is small: on a CPU the paper's of seven voxels takes half of all time.
    backbone=dict(base_channels=16, stem_kernel=4, with_stem=True),
    neck=dict(out_channels=16, num_outs=1),
    dense_head=dict(
        _delete_=True,
        type='SoftCenterHead',
        feat_channels=16,
        loss_heatmap=dict(type='HeatmapFocalLoss', alpha=3.0, beta=4.0),
    ),
    roi_extractor=None,
    refine_head=None,
    world_head=None,
    local_head=dict(
        _delete_=True,
        type='ShapeFitHead',
        stages=[
            dict(reach=24.0, beside=8.0, rounds=2, modes=10),
            dict(reach=12.0, beside=4.0, rounds=1, modes=40, reads_region=True),
            dict(reach=6.0, beside=3.0, rounds=1, modes=100, reads_region=True),
        ],
        region=dict(cells=24, margin=12.0, channels=(32, 64, 96)),
        samples=13,
        start_std=4.0,
        weighs_scores=True,
        prior=dict(modes=40, bends=60),
    ),
    loss_weights=dict(_delete_=True, L_h=0.2, L_r=0.1, L_o=1.0, L_s=1.0),
)
