# python tools/train.py tests/engine/config_teacher.py
"""A run of seconds with an averaging teacher; a step takes two batches."""

from mmengine.config import read_base

from mae3d.datasets.images import ImageFolder
from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.datasets.transforms.image import NormalizePixels, RandomResizedCrop
from mae3d.models.methods import data2vec2_image_test

with read_base():
    from .config_small import *

model = dict(type=data2vec2_image_test, mask_noise=0.01, ema_decay=0.5, ema_end_decay=0.9, ema_anneal_steps=8)
data_preprocessor = dict(type=BatchPreprocessor, train_transforms=[dict(type=NormalizePixels)])
train_dataloader = dict(
    dataset=dict(type=ImageFolder, root="", split="train", transforms=[dict(type=RandomResizedCrop, size=32)]),
    sampler=dict(type=EpochSampler),
    batch_size=2,
    num_workers=0,
    drop_last=True,
)
train_cfg.update(max_epochs=2, val_begin=9)
optim_wrapper.update(accumulative_counts=2)
