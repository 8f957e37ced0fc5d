# The paper's network: ResNet-101 and FPN, CenterNet, ROI pooling by maximum, CVAE world head.
model = dict(
    type='MASSM',
    data_preprocessor=dict(type='VolumePreprocessor', windows=((-1000.0, 1000.0),)),
    backbone=dict(
        type='ResNet3D', depth=101, base_channels=64, norm_cfg=dict(type='GN', num_groups=8)
    ),
    neck=dict(type='FPN3D', out_channels=64, norm_cfg=dict(type='GN', num_groups=8)),
    dense_head=dict(
        type='CenterNet3DHead',
        feat_channels=64,
        loss_heatmap=dict(type='HeatmapFocalLoss', alpha=3.0, beta=4.0),
        loss_offset=dict(type='FocalRegressionLoss', a=10.0, c=0.2),
    ),
    roi_extractor=dict(type='MultiLevelROIPool3D', output_sizes=(8, 4, 2, 1), mode='max'),
    local_head=dict(
        type='LocalPDMHead',
        hidden_channels=(512, 512),
        loss=dict(type='FocalRegressionLoss', a=10.0, c=0.2),
    ),
    world_head=dict(
        type='CVAEWorldHead',
        hidden_channels=(512, 256),
        shape_vae=dict(type='ShapeCVAE', latent_channels=32, hidden_channels=(512, 256)),
        loss=dict(type='FocalRegressionLoss', a=10.0, c=0.2),
    ),
    loss_weights=dict(L_h=1.0, L_r=0.01, L_o=1.0, L_l=0.0, L_w=0.0),
)
