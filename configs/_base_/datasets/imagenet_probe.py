"""ImageNet-1k for probes of frozen encoders: crops drawn without retries and mirror images only."""

from mmengine.config import read_base

from mae3d.datasets.transforms.image import RandomFlip, RandomResizedCrop

with read_base():
    from .imagenet_finetune import *

data_preprocessor.update(train_transforms=[dict(type=NormalizePixels)])
train_dataloader.update(
    dataset=dict(
        type=ImageFolder,
        root="data/imagenet",
        split="train",
        transforms=[dict(type=RandomResizedCrop, size=224, retry=False), dict(type=RandomFlip)],
    ),
    batch_size=512,
)
