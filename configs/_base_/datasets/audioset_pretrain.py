"""AudioSet for pre-training: 2 M clips of ten seconds, 1024 frames of 128 mel energies, random gain.

The .csv files are the published segment lists; a clip lies under its YouTube name (.flac, .wav, ...). Clips that are
not there are left out.
"""

from mae3d.datasets.audio import AudioTable
from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.datasets.transforms.audio import KaldiFilterBank, NormalizeSpectrogram, RandomGain
from mae3d.engine.sampling import EpochSampler

data_preprocessor = dict(
    type=BatchPreprocessor,
    train_transforms=[dict(type=RandomGain), dict(type=KaldiFilterBank, frames=1024), dict(type=NormalizeSpectrogram)],
    test_transforms=[dict(type=KaldiFilterBank, frames=1024), dict(type=NormalizeSpectrogram)],
)
train_dataloader = dict(
    dataset=dict(
        type=AudioTable,
        table="data/audioset/unbalanced_train_segments.csv",
        root="data/audioset/unbalanced_train",
        samples=164080,  # those of 1024 frames
        path="{YTID}.flac",
        columns=("YTID", "start_seconds", "end_seconds", "positive_labels"),
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
