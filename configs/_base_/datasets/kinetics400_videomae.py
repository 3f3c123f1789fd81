"""Kinetics-400 clips for VideoMAE: 16 frames, every 4th, multi-scale crops, no mirror images.

The list holds a path and a label a line, as VideoMAE, PySlowFast and mmaction2 write it; frames are read with PyAV.
"""

from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.datasets.transforms.image import MultiScaleCrop, NormalizePixels
from mae3d.datasets.videos import DenseClip, VideoDataset
from mae3d.engine.sampling import EpochSampler

data_preprocessor = dict(
    type=BatchPreprocessor,
    train_transforms=[dict(type=NormalizePixels)],
    test_transforms=[dict(type=NormalizePixels)],
)
train_dataloader = dict(
    dataset=dict(
        type=VideoDataset,
        root="data/kinetics400",
        annotation="data/kinetics400/train.csv",
        sampler=dict(type=DenseClip, length=16, step=4),
        transforms=[dict(type=MultiScaleCrop, size=224)],
    ),
    sampler=dict(type=EpochSampler),
    batch_size=32,
    num_workers=10,
    drop_last=True,
    persistent_workers=True,
    pin_memory=True,
)
