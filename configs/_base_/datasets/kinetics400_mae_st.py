"""Kinetics-400 clips for MAE-ST: four clips of each decoded video, random resized crops, mirror images.

The list holds a path and a label a line, as VideoMAE, PySlowFast and mmaction2 write it; frames are read with PyAV.
"""

from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.datasets.transforms.image import FoldViews, NormalizePixels, RandomFlip, RandomResizedCrop
from mae3d.datasets.videos import SecondsClip, VideoDataset
from mae3d.engine.sampling import EpochSampler

data_preprocessor = dict(
    type=BatchPreprocessor,
    train_transforms=[dict(type=FoldViews), dict(type=NormalizePixels, mean=0.45, std=0.225)],
    test_transforms=[dict(type=FoldViews), dict(type=NormalizePixels, mean=0.45, std=0.225)],
)
train_dataloader = dict(
    dataset=dict(
        type=VideoDataset,
        root="data/kinetics400",
        annotation="data/kinetics400/train.csv",
        sampler=dict(type=SecondsClip, length=16, step=4, target_rate=30.0),
        transforms=[
            dict(type=RandomResizedCrop, size=224, scale=(0.5, 1.0), interpolation="bilinear"),
            dict(type=RandomFlip),
        ],
        repeats=4,
    ),
    sampler=dict(type=EpochSampler),
    batch_size=2,
    num_workers=10,
    drop_last=True,
    persistent_workers=True,
    pin_memory=True,
)
