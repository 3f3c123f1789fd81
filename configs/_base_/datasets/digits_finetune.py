"""Spoken digits (ten classes, 8 kHz) for fine-tuning; numbers 0 to 2 of each speaker and digit are held out.

--cfg-options train_dataloader.dataset.root=PATH val_dataloader.dataset.root=PATH test_dataloader.dataset.root=PATH
"""

from mae3d.datasets.audio import AudioFolder
from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.datasets.transforms.audio import (
    KaldiFilterBank,
    NormalizeSpectrogram,
    RandomGain,
    SpecAugment,
    WaveformMixup,
)
from mae3d.engine.loops import EvaluationLoop, ValidationLoop
from mae3d.engine.sampling import EpochSampler
from mae3d.evaluation import Accuracy

data_preprocessor = dict(
    type=BatchPreprocessor,
    train_transforms=[
        dict(type=RandomGain),
        dict(type=WaveformMixup, num_classes=10, probability=0.25),
        dict(type=KaldiFilterBank, frames=64, bins=64, rate=8000),
        dict(type=SpecAugment, frequency=8, time=8),
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
val_dataloader = dict(
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
)
val_cfg = dict(type=ValidationLoop)
val_evaluator = dict(type=Accuracy)
test_dataloader = val_dataloader
test_cfg = dict(type=EvaluationLoop)
test_evaluator = val_evaluator
