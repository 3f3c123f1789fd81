"""Speech Commands V2, 35 words of one second, 128 frames; validation and test files are those that its lists name."""

from mae3d.datasets.audio import AudioFolder
from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.datasets.transforms.audio import KaldiFilterBank, NormalizeSpectrogram, SpecAugment
from mae3d.engine.loops import EvaluationLoop, ValidationLoop
from mae3d.engine.sampling import EpochSampler
from mae3d.evaluation import Accuracy

data_preprocessor = dict(
    type=BatchPreprocessor,
    train_transforms=[
        dict(type=KaldiFilterBank, frames=128),
        dict(type=SpecAugment, frequency=96, time=24),
        dict(type=NormalizeSpectrogram, mean=-6.845978, std=5.5654526),
    ],
    test_transforms=[
        dict(type=KaldiFilterBank, frames=128),
        dict(type=NormalizeSpectrogram, mean=-6.845978, std=5.5654526),
    ],
)
train_dataloader = dict(
    dataset=dict(
        type=AudioFolder,
        root="data/speech_commands_v2",
        samples=20720,  # those of 128 frames
        unlisted=["data/speech_commands_v2/validation_list.txt", "data/speech_commands_v2/testing_list.txt"],
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
    dataset=dict(
        type=AudioFolder,
        root="data/speech_commands_v2",
        samples=20720,
        listed="data/speech_commands_v2/validation_list.txt",
        level="mean",
    ),
    sampler=dict(type=EpochSampler, shuffle=False),
    batch_size=64,
    num_workers=10,
    persistent_workers=True,
    pin_memory=True,
)
val_cfg = dict(type=ValidationLoop)
val_evaluator = dict(type=Accuracy)
test_dataloader = dict(
    dataset=dict(
        type=AudioFolder,
        root="data/speech_commands_v2",
        samples=20720,
        listed="data/speech_commands_v2/testing_list.txt",
        level="mean",
    ),
    sampler=dict(type=EpochSampler, shuffle=False),
    batch_size=64,
    num_workers=10,
)
test_cfg = dict(type=EvaluationLoop)
test_evaluator = val_evaluator
