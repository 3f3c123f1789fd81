"""LibriSpeech's 960 hours for pre-training: data/LibriSpeech/train-*/SPEAKER/CHAPTER/NAME.flac, 16 kHz.

Sounds are cut to ten seconds, then to the shortest of the batch. Published batches leave out sounds of less than two
seconds, join those of like length, of up to twenty seconds, and hold a number of samples; here they hold six sounds.
"""

from mae3d.datasets.audio import AudioFolder
from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.datasets.transforms.audio import CropToShortest
from mae3d.engine.sampling import EpochSampler

data_preprocessor = dict(type=BatchPreprocessor, train_transforms=[dict(type=CropToShortest)])
train_dataloader = dict(
    dataset=dict(
        type=AudioFolder,
        root="data/LibriSpeech",
        select="^train-",
        samples=160_000,
        crop="random",
        level="unit",
    ),
    sampler=dict(type=EpochSampler),
    batch_size=6,
    num_workers=6,
    drop_last=True,
    persistent_workers=True,
    pin_memory=True,
)
