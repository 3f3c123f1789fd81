"""ImageNet-1k for pre-training: random resized crops and mirror images, nothing else.

The files are expected as data/imagenet/train/CLASS/NAME.JPEG; a .zip of such a folder works too.
"""

from mae3d.datasets.images import ImageFolder
from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.datasets.transforms.image import NormalizePixels, RandomFlip, RandomResizedCrop
from mae3d.engine.sampling import EpochSampler

data_preprocessor = dict(
    type=BatchPreprocessor,
    train_transforms=[dict(type=NormalizePixels)],
    test_transforms=[dict(type=NormalizePixels)],
)
train_dataloader = dict(
    dataset=dict(
        type=ImageFolder,
        root="data/imagenet",
        split="train",
        transforms=[dict(type=RandomResizedCrop, size=224, scale=(0.2, 1.0)), dict(type=RandomFlip)],
    ),
    sampler=dict(type=EpochSampler),
    batch_size=64,
    num_workers=10,
    drop_last=True,
    persistent_workers=True,
    pin_memory=True,
)
