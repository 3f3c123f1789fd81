"""Spoken digits for fine-tuning, judged on the held-out numbers.

--cfg-options train_dataloader.dataset.root=PATH val_dataloader.dataset.root=PATH test_dataloader.dataset.root=PATH
"""

from mmengine.config import read_base

from mae3d.datasets.transforms.audio import RandomGain, SpecAugment, WaveformMixup
from mae3d.engine.loops import EvaluationLoop, ValidationLoop
from mae3d.evaluation import Accuracy

with read_base():
    from .digits import *

data_preprocessor.update(
    train_transforms=[
        dict(type=RandomGain),
        dict(type=WaveformMixup, num_classes=10, probability=0.25),
        dict(type=KaldiFilterBank, frames=64, bins=64, rate=8000),
        dict(type=SpecAugment, frequency=8, time=8),
        dict(type=NormalizeSpectrogram, mean=-4.1797, std=4.1197),
    ],
)
val_dataloader = dict(
    dataset=dict(train_dataloader["dataset"], select=r"_[0-2]\.wav$"),
    sampler=dict(type=EpochSampler, shuffle=False),
    batch_size=48,
    num_workers=0,
)
val_cfg = dict(type=ValidationLoop)
val_evaluator = dict(type=Accuracy)
test_dataloader = val_dataloader
test_cfg = dict(type=EvaluationLoop)
test_evaluator = val_evaluator
