# A UNet for each anatomy, as the paper compares with.
_base_ = ['./unet_all.py']
model = dict(per_anatomy=True)
