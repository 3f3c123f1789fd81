"""AudioSet for fine-tuning: 527 classes that do not exclude each other; gain, mixup of sounds, SpecAugment.

Layout as for pre-training; class_labels_indices.csv gives the order of the classes. Scored by the mean average
precision over the evaluation clips.
"""

from mae3d.datasets.audio import AudioTable
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
from mae3d.evaluation import MeanAveragePrecision

data_preprocessor = dict(
    type=BatchPreprocessor,
    train_transforms=[
        dict(type=RandomGain),
        dict(type=WaveformMixup, probability=0.5),
        dict(type=KaldiFilterBank, frames=1024),
        dict(type=SpecAugment, frequency=48, time=192),
        dict(type=NormalizeSpectrogram),
    ],
    test_transforms=[dict(type=KaldiFilterBank, frames=1024), dict(type=NormalizeSpectrogram)],
)
train_dataloader = dict(
    dataset=dict(
        type=AudioTable,
        table="data/audioset/balanced_train_segments.csv",
        root="data/audioset/balanced_train",
        samples=164080,
        path="{YTID}.flac",
        columns=("YTID", "start_seconds", "end_seconds", "positive_labels"),
        label="positive_labels",
        multi_label=True,
        classes="data/audioset/class_labels_indices.csv",
        drop_missing=True,
        level="mean",
    ),
    sampler=dict(type=EpochSampler),
    batch_size=8,
    num_workers=10,
    drop_last=True,
    persistent_workers=True,
    pin_memory=True,
)
val_dataloader = dict(
    dataset=dict(train_dataloader["dataset"], table="data/audioset/eval_segments.csv", root="data/audioset/eval"),
    sampler=dict(type=EpochSampler, shuffle=False),
    batch_size=32,
    num_workers=10,
    persistent_workers=True,
    pin_memory=True,
)
val_cfg = dict(type=ValidationLoop)
val_evaluator = dict(type=MeanAveragePrecision)
test_dataloader = val_dataloader
test_cfg = dict(type=EvaluationLoop)
test_evaluator = val_evaluator
