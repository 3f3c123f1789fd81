"""Kinetics-400 for VideoMAE's fine-tuning: two clips of each video; tested on 5 clips x 3 crops.

What differs from MAE-ST's: which frames a clip holds, the number of random changes, the statistics of the pixels.
"""

from mmengine.config import read_base

from mae3d.datasets.transforms.image import NormalizePixels
from mae3d.datasets.videos import DenseClip

with read_base():
    from .kinetics400_mae_st_finetune import *

data_preprocessor.train_transforms[1] = dict(type=NormalizePixels)
data_preprocessor.update(test_transforms=[dict(type=NormalizePixels)])
train_dataloader.dataset.update(sampler=dict(type=DenseClip, length=16, step=4))
train_dataloader.dataset.transforms[0].update(count=4)
val_dataloader.dataset.update(sampler=dict(type=DenseClip, length=16, step=4, views=5))
test_dataloader = val_dataloader
