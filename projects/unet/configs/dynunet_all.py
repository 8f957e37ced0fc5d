# The stronger variant: nnU-Net's blocks.
_base_ = ['./unet_all.py']
model = dict(
    network=dict(_delete_=True, type='DynUNet', channels=(16, 32, 64, 128, 256), res_block=True),
)
