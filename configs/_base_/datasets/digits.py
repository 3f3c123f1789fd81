"""Spoken digits (ten classes, four speakers, 8 kHz) as spectrograms; numbers 0 to 2 of each speaker are held out.

Any folder or .zip of sounds named DIGIT_SPEAKER_NUMBER.wav does (free-spoken-digit-dataset).
"""

from mae3d.datasets.audio import AudioFolder
from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.datasets.transforms.audio import KaldiFilterBank, NormalizeSpectrogram
from mae3d.engine.sampling import EpochSampler

data_preprocessor = dict(
    type=BatchPreprocessor,
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
