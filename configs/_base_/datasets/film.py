"""Clips of one film, 8 frames of 64 x 64 pixels: any video file, or folder of them, does.

--cfg-options train_dataloader.dataset.root=PATH
"""

from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.datasets.transforms.image import MultiScaleCrop, NormalizePixels, ResizeShortSide
from mae3d.datasets.videos import DenseClip, VideoDataset
from mae3d.engine.hooks import ReconstructionHook
from mae3d.engine.sampling import EpochSampler

data_preprocessor = dict(
    type=BatchPreprocessor,
    train_transforms=[dict(type=NormalizePixels)],
    test_transforms=[dict(type=NormalizePixels)],
)
train_dataloader = dict(
    dataset=dict(
        type=VideoDataset,
        root="data/bigbuckbunny.mp4",
        sampler=dict(type=DenseClip, length=8, step=2),
        transforms=[dict(type=ResizeShortSide, size=80), dict(type=MultiScaleCrop, size=64)],
        clips_per_video=32,
    ),
    sampler=dict(type=EpochSampler),
    batch_size=16,
    num_workers=0,
    drop_last=True,
)
custom_hooks = [dict(type=ReconstructionHook, interval=10)]
