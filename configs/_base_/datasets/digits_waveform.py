"""Spoken digits (Free Spoken Digit Dataset: DIGIT_SPEAKER_NUMBER.wav) for pre-training, with a kNN probe.

Takes 0 to 4 of every speaker and digit are held out. Another place of the files: --cfg-options
train_dataloader.dataset.root=PATH custom_hooks.0.train_dataloader.dataset.root=PATH
custom_hooks.0.test_dataloader.dataset.root=PATH
"""

from mae3d.datasets.audio import AudioFolder
from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.engine.hooks import ProbeHook
from mae3d.engine.sampling import EpochSampler

data_preprocessor = dict(type=BatchPreprocessor)
train_dataloader = dict(
    dataset=dict(
        type=AudioFolder,
        root="data/fsdd.zip",
        class_pattern=r"(\d)_[a-z]+_\d+\.wav$",
        select=r"_(?:[5-9]|1\d)\.wav$",
        samples=3200,
        rate=8000,
        crop="random",
        level="unit",
    ),
    sampler=dict(type=EpochSampler),
    batch_size=32,
    num_workers=0,
    drop_last=True,
)
custom_hooks = [
    dict(
        type=ProbeHook,
        interval=5,
        kind="knn",
        train_dataloader=dict(
            dataset=dict(train_dataloader["dataset"], crop="center"),
            sampler=dict(type=EpochSampler, shuffle=False),
            batch_size=32,
            num_workers=0,
        ),
        test_dataloader=dict(
            dataset=dict(train_dataloader["dataset"], crop="center", select=r"_[0-4]\.wav$"),
            sampler=dict(type=EpochSampler, shuffle=False),
            batch_size=32,
            num_workers=0,
        ),
    ),
]
