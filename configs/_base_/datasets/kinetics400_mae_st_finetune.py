"""Kinetics-400 for MAE-ST's fine-tuning: two clips of each video; tested on 7 clips x 3 crops.

The list holds a path and a label a line, as VideoMAE, PySlowFast and mmaction2 write it; frames are read with PyAV.
"""

from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.datasets.transforms.image import (
    FoldViews,
    Mixup,
    NormalizePixels,
    RandAugment,
    RandomErasing,
    RandomFlip,
    RandomResizedCrop,
    ResizeShortSide,
    ThreeCrops,
)
from mae3d.datasets.videos import SecondsClip, VideoDataset
from mae3d.engine.loops import EvaluationLoop, ValidationLoop
from mae3d.engine.sampling import EpochSampler
from mae3d.evaluation import Accuracy

data_preprocessor = dict(
    type=BatchPreprocessor,
    train_transforms=[
        dict(type=FoldViews),
        dict(type=NormalizePixels, mean=0.45, std=0.225),
        dict(type=RandomErasing, probability=0.25),
        dict(type=Mixup, num_classes=400, mixup=0.8, cutmix=1.0, label_smoothing=0.1),
    ],
    test_transforms=[dict(type=NormalizePixels, mean=0.45, std=0.225)],
)
train_dataloader = dict(
    dataset=dict(
        type=VideoDataset,
        root="data/kinetics400",
        annotation="data/kinetics400/train.csv",
        sampler=dict(type=SecondsClip, length=16, step=4),
        transforms=[
            dict(type=RandAugment, magnitude=7, spread=0.5, count=2),
            dict(type=RandomResizedCrop, size=224, interpolation="bilinear"),
            dict(type=RandomFlip),
        ],
        repeats=2,
    ),
    sampler=dict(type=EpochSampler),
    batch_size=8,
    num_workers=10,
    drop_last=True,
    persistent_workers=True,
    pin_memory=True,
)
val_dataloader = dict(
    dataset=dict(
        type=VideoDataset,
        root="data/kinetics400",
        annotation="data/kinetics400/val.csv",
        sampler=dict(type=SecondsClip, length=16, step=4, views=7),
        transforms=[dict(type=ResizeShortSide, size=224, interpolation="bilinear"), dict(type=ThreeCrops, size=224)],
        training=False,
    ),
    sampler=dict(type=EpochSampler, shuffle=False),
    batch_size=1,
    num_workers=10,
    persistent_workers=True,
    pin_memory=True,
)
val_cfg = dict(type=ValidationLoop)
val_evaluator = dict(type=Accuracy)
test_dataloader = val_dataloader
test_cfg = dict(type=EvaluationLoop)
test_evaluator = val_evaluator
