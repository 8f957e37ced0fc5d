# Shapes fitted to the image: ShapeFitHead in place of ROI pooling, regression and world head; the
# light network only has to say roughly where each anatomy is.
_base_ = './massm_r18.py'
model = dict(
    roi_extractor=None,
    refine_head=None,
    world_head=None,
    local_head=dict(
        _delete_=True,
        type='ShapeFitHead',
        stages=[
            dict(reach=24.0, beside=8.0, rounds=2, modes=10),
            dict(reach=12.0, beside=4.0, rounds=2, modes=40),
            dict(reach=6.0, beside=3.0, rounds=3, modes=100),
        ],
        samples=13,
        starts=2,
        start_std=4.0,
        independence=0.1,
        prior=dict(modes=40, bends=60),
    ),
    loss_weights=dict(_delete_=True, L_h=10.0, L_r=0.1, L_o=1.0, L_l=1.0),
)
