"""ESC-50, fold 5 held out: 50 classes, five seconds, 512 frames. Published accuracies are means over the five folds:

--cfg-options train_dataloader.dataset.where.fold=[2,3,4,5] val_dataloader.dataset.where.fold=1
    test_dataloader.dataset.where.fold=1
"""

from mae3d.datasets.audio import AudioTable
from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.datasets.transforms.audio import KaldiFilterBank, NormalizeSpectrogram, SpecAugment
from mae3d.engine.loops import EvaluationLoop, ValidationLoop
from mae3d.engine.sampling import EpochSampler
from mae3d.evaluation import Accuracy

data_preprocessor = dict(
    type=BatchPreprocessor,
    train_transforms=[
        dict(type=KaldiFilterBank, frames=512),
        dict(type=SpecAugment, frequency=96, time=24),
        dict(type=NormalizeSpectrogram, mean=-6.6268077, std=5.358466),
    ],
    test_transforms=[
        dict(type=KaldiFilterBank, frames=512),
        dict(type=NormalizeSpectrogram, mean=-6.6268077, std=5.358466),
    ],
)
train_dataloader = dict(
    dataset=dict(
        type=AudioTable,
        table="data/ESC-50/meta/esc50.csv",
        root="data/ESC-50/audio",
        samples=82160,  # those of 512 frames
        label="target",
        where=dict(fold=[1, 2, 3, 4]),
        level="mean",
    ),
    sampler=dict(type=EpochSampler),
    batch_size=64,
    num_workers=10,
    drop_last=True,
    persistent_workers=True,
    pin_memory=True,
)
val_dataloader = dict(
    dataset=dict(train_dataloader["dataset"], where=dict(fold=5)),
    sampler=dict(type=EpochSampler, shuffle=False),
    batch_size=64,
    num_workers=10,
    persistent_workers=True,
    pin_memory=True,
)
val_cfg = dict(type=ValidationLoop)
val_evaluator = dict(type=Accuracy)
test_dataloader = val_dataloader
test_cfg = dict(type=EvaluationLoop)
test_evaluator = val_evaluator
