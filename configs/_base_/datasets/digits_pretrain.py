"""Spoken digits (four speakers, 8 kHz) for pre-training, with a linear probe and pictures.

Any folder or .zip of sounds named DIGIT_SPEAKER_NUMBER.wav does (free-spoken-digit-dataset); numbers 0 to 2 are held
out:
--cfg-options train_dataloader.dataset.root=PATH custom_hooks.0.train_dataloader.dataset.root=PATH
    custom_hooks.0.test_dataloader.dataset.root=PATH custom_hooks.1.dataloader.dataset.root=PATH
"""

from mae3d.datasets.audio import AudioFolder
from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.datasets.transforms.audio import KaldiFilterBank, NormalizeSpectrogram, RandomGain
from mae3d.engine.hooks import ProbeHook, ReconstructionHook
from mae3d.engine.sampling import EpochSampler

data_preprocessor = dict(
    type=BatchPreprocessor,
    train_transforms=[
        dict(type=RandomGain),
        dict(type=KaldiFilterBank, frames=64, bins=64, rate=8000),
        dict(type=NormalizeSpectrogram, mean=-4.1797, std=4.1197),
    ],
    test_transforms=[
        dict(type=KaldiFilterBank, frames=64, bins=64, rate=8000),
        dict(type=NormalizeSpectrogram, mean=-4.1797, std=4.1197),
    ],
)
train_dataloader = dict(
    dataset=dict(
        type=AudioFolder,
        root="data/fsdd.zip",
        samples=5240,  # those of 64 frames
        rate=8000,
        class_pattern=r"^(\d)_",
        select=r"_([3-9]|\d\d+)\.wav$",
        level="mean",
    ),
    sampler=dict(type=EpochSampler),
    batch_size=48,
    num_workers=0,
    drop_last=True,
)
custom_hooks = [
    dict(
        type=ProbeHook,
        interval=20,
        kind="linear",
        train_dataloader=dict(
            dataset=dict(
                type=AudioFolder,
                root="data/fsdd.zip",
                samples=5240,
                rate=8000,
                class_pattern=r"^(\d)_",
                select=r"_([3-9]|\d\d+)\.wav$",
                level="mean",
            ),
            sampler=dict(type=EpochSampler, shuffle=False),
            batch_size=48,
            num_workers=0,
        ),
        test_dataloader=dict(
            dataset=dict(
                type=AudioFolder,
                root="data/fsdd.zip",
                samples=5240,
                rate=8000,
                class_pattern=r"^(\d)_",
                select=r"_[0-2]\.wav$",
                level="mean",
            ),
            sampler=dict(type=EpochSampler, shuffle=False),
            batch_size=48,
            num_workers=0,
        ),
    ),
    dict(
        type=ReconstructionHook,
        interval=20,
        dataloader=dict(
            dataset=dict(
                type=AudioFolder,
                root="data/fsdd.zip",
                samples=5240,
                rate=8000,
                class_pattern=r"^(\d)_",
                select=r"_[0-2]\.wav$",
                level="mean",
            ),
            sampler=dict(type=EpochSampler, shuffle=False),
            batch_size=48,
            num_workers=0,
        ),
    ),
]
