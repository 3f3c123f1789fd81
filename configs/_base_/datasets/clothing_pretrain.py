"""Photographs of clothes (10 classes, 96 x 96 pixels), for pre-training, with a kNN probe and pictures.

Any folder or .zip in ImageNet's layout does:
--cfg-options train_dataloader.dataset.root=PATH custom_hooks.0.train_dataloader.dataset.root=PATH
    custom_hooks.0.test_dataloader.dataset.root=PATH custom_hooks.1.dataloader.dataset.root=PATH
"""

from mae3d.datasets.images import ImageFolder
from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.datasets.transforms.image import CenterCrop, NormalizePixels, RandomFlip, RandomResizedCrop, ResizeShortSide
from mae3d.engine.hooks import ProbeHook, ReconstructionHook
from mae3d.engine.sampling import EpochSampler

data_preprocessor = dict(
    type=BatchPreprocessor,
    train_transforms=[dict(type=NormalizePixels)],
    test_transforms=[dict(type=NormalizePixels)],
)
train_dataloader = dict(
    dataset=dict(
        type=ImageFolder,
        root="data/clothing96.zip",
        split="train",
        transforms=[dict(type=RandomResizedCrop, size=64, scale=(0.2, 1.0)), dict(type=RandomFlip)],
    ),
    sampler=dict(type=EpochSampler),
    batch_size=64,
    num_workers=0,
    drop_last=True,
)
custom_hooks = [
    dict(
        type=ProbeHook,
        interval=5,
        kind="knn",
        train_dataloader=dict(
            dataset=dict(
                type=ImageFolder,
                root="data/clothing96.zip",
                split="train",
                transforms=[dict(type=ResizeShortSide, size=64), dict(type=CenterCrop, size=64)],
            ),
            sampler=dict(type=EpochSampler, shuffle=False),
            batch_size=64,
            num_workers=0,
        ),
        test_dataloader=dict(
            dataset=dict(
                type=ImageFolder,
                root="data/clothing96.zip",
                split="validation",
                transforms=[dict(type=ResizeShortSide, size=64), dict(type=CenterCrop, size=64)],
            ),
            sampler=dict(type=EpochSampler, shuffle=False),
            batch_size=64,
            num_workers=0,
        ),
    ),
    dict(type=ReconstructionHook, interval=5),
]
custom_hooks[1].update(dataloader=custom_hooks[0]["test_dataloader"])  # pictures of what the probe is judged on
