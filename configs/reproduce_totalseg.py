# The paper's own setting, for a machine with GPUs: seven anatomies of TotalSegmentator at 3 mm,
# 1024 particles, ResNet-101, 300 epochs. On four GPUs of one machine:
#
#   bash tools/dist_train.sh configs/reproduce_totalseg.py 4 --amp --channels-last
#   bash tools/dist_test.sh configs/reproduce_totalseg.py 4
#
# or as a Slurm job on eight:
#
#   bash tools/slurm_train.sh PARTITION massm configs/reproduce_totalseg.py 8 --amp --channels-last
#
# All methods beside it, each for a day of one GPU:
#
#   python tools/reproduce.py data/totalseg --budget 1440 --methods massm_r101 deepssm.l \
#       deepssmF.w deepssm.w unet
_base_ = ['./massm_r101_totalseg.py']
# Two volumes a GPU.
train_dataloader = dict(batch_size=2, num_workers=8)
val_dataloader = dict(num_workers=4)
test_dataloader = dict(num_workers=4)
model = dict(backbone=dict(with_checkpoint=True))
default_hooks = dict(checkpoint=dict(interval=5))
