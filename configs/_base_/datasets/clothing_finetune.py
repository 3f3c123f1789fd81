"""Photographs of clothes (10 classes, 96 x 96 pixels), for fine-tuning.

Any folder or .zip in ImageNet's layout does:
--cfg-options train_dataloader.dataset.root=PATH val_dataloader.dataset.root=PATH
"""

from mae3d.datasets.images import ImageFolder
from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.datasets.transforms.image import (
    CenterCrop,
    Mixup,
    NormalizePixels,
    RandAugment,
    RandomErasing,
    RandomFlip,
    RandomResizedCrop,
    ResizeShortSide,
)
from mae3d.engine.loops import EvaluationLoop, ValidationLoop
from mae3d.engine.sampling import EpochSampler
from mae3d.evaluation import Accuracy

data_preprocessor = dict(
    type=BatchPreprocessor,
    train_transforms=[
        dict(type=NormalizePixels),
        dict(type=RandomErasing, probability=0.25),
        dict(type=Mixup, num_classes=10),
    ],
    test_transforms=[dict(type=NormalizePixels)],
)
train_dataloader = dict(
    dataset=dict(
        type=ImageFolder,
        root="data/clothing96.zip",
        split="train",
        transforms=[
            dict(type=RandomResizedCrop, size=64, scale=(0.2, 1.0)),
            dict(type=RandomFlip),
            dict(type=RandAugment),
        ],
    ),
    sampler=dict(type=EpochSampler),
    batch_size=64,
    num_workers=0,
    drop_last=True,
)
val_dataloader = dict(
    dataset=dict(
        type=ImageFolder,
        root="data/clothing96.zip",
        split="validation",
        transforms=[dict(type=ResizeShortSide, size=64), dict(type=CenterCrop, size=64)],
    ),
    sampler=dict(type=EpochSampler, shuffle=False),
    batch_size=64,
    num_workers=0,
)
val_cfg = dict(type=ValidationLoop)
val_evaluator = dict(type=Accuracy)
test_dataloader = val_dataloader
test_cfg = dict(type=EvaluationLoop)
test_evaluator = val_evaluator
