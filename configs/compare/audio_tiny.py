# python tools/train.py configs/compare/audio_tiny.py
"""Audio: Audio-MAE on spectrograms of spoken digits; a linear probe tells the ten digits apart.

One second at 8 kHz becomes 96 frames of 64 mel bins; the probe is judged on takes that it was not fitted to, of the
same four speakers. The backbone is that of every file in this folder: 4 blocks of width 128 with 4 heads.
"""

from mmengine.config import read_base

from mae3d.datasets.audio import AudioFolder
from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.datasets.transforms.audio import KaldiFilterBank, NormalizeSpectrogram
from mae3d.engine.hooks import ProbeHook
from mae3d.engine.sampling import EpochSampler
from mae3d.models.methods import AudioMAE

with read_base():
    from .._base_.schedules.compare import *

model = dict(
    type=AudioMAE,
    frames=96,
    bins=64,
    patch_size=8,
    embed_dim=128,
    depth=4,
    num_heads=4,
    decoder_dim=64,
    decoder_depth=2,
    decoder_num_heads=4,
    pooling="mean",
)
_spectrogram = [
    dict(type=KaldiFilterBank, frames=96, bins=64, rate=8000),
    dict(type=NormalizeSpectrogram, mean=-3.0, std=4.1),
]
data_preprocessor = dict(type=BatchPreprocessor, train_transforms=_spectrogram, test_transforms=_spectrogram)
_digits = dict(
    type=AudioFolder, root="data/audio/fsdd.zip", samples=8000, rate=8000, class_pattern=r"(\d)_\w+_\d+\.wav$"
)
train_dataloader = dict(
    dataset=dict(select=r"_\d\.wav$", **_digits),
    sampler=dict(type=EpochSampler),
    batch_size=32,
    num_workers=0,
    drop_last=True,
)
custom_hooks = [
    dict(
        type=ProbeHook,
        interval=1000000,
        kind="linear",
        train_dataloader=dict(
            dataset=dict(select=r"_\d\.wav$", **_digits),
            sampler=dict(type=EpochSampler, shuffle=False),
            batch_size=64,
            num_workers=0,
        ),
        test_dataloader=dict(
            dataset=dict(select=r"_1[0-4]\.wav$", **_digits),
            sampler=dict(type=EpochSampler, shuffle=False),
            batch_size=64,
            num_workers=0,
        ),
    ),
]
