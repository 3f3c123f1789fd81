"""ImageNet-1k for fine-tuning: RandAugment, random erasing, mixup and cutmix with smoothed labels."""

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
        dict(type=Mixup, num_classes=1000, mixup=0.8, cutmix=1.0, label_smoothing=0.1),
    ],
    test_transforms=[dict(type=NormalizePixels)],
)
train_dataloader = dict(
    dataset=dict(
        type=ImageFolder,
        root="data/imagenet",
        split="train",
        transforms=[
            dict(type=RandomResizedCrop, size=224),
            dict(type=RandomFlip),
            dict(type=RandAugment, magnitude=9, spread=0.5, count=2),
        ],
    ),
    sampler=dict(type=EpochSampler),
    batch_size=32,
    num_workers=10,
    drop_last=True,
    persistent_workers=True,
    pin_memory=True,
)
val_dataloader = dict(
    dataset=dict(
        type=ImageFolder,
        root="data/imagenet",
        split="val",
        transforms=[dict(type=ResizeShortSide, size=256), dict(type=CenterCrop, size=224)],
    ),
    sampler=dict(type=EpochSampler, shuffle=False),
    batch_size=128,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
)
val_cfg = dict(type=ValidationLoop)
val_evaluator = dict(type=Accuracy)
test_dataloader = val_dataloader
test_cfg = dict(type=EvaluationLoop)
test_evaluator = val_evaluator
