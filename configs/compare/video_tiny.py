# python tools/train.py configs/compare/video_tiny.py
"""Video: MAE-ST on clips of one film; a linear probe tells three paces of a clip apart.

The paces are every frame, every second and every fourth; the probe is fitted to clips of the first 60 % of the film and
judged on clips of the rest. The backbone is that of every file in this folder: 4 blocks of width 128 with 4 heads.
"""

from mmengine.config import read_base

from mae3d.datasets import LabelledParts
from mae3d.datasets.transforms.image import CenterCrop
from mae3d.engine.hooks import ProbeHook
from mae3d.models.methods import MAEST

with read_base():
    from .._base_.datasets.film import *
    from .._base_.schedules.compare import *

model = dict(
    type=MAEST,
    clip_size=(8, 64, 64),
    tubelet=(2, 8, 8),
    embed_dim=128,
    depth=4,
    num_heads=4,
    decoder_dim=64,
    decoder_depth=2,
    decoder_num_heads=4,
    predicted_frames=4,
)
data_preprocessor.update(
    train_transforms=[dict(type=NormalizePixels, mean=0.45, std=0.225)],
    test_transforms=[dict(type=NormalizePixels, mean=0.45, std=0.225)],
)
_film = "data/video/bigbuckbunny.mp4"
train_dataloader["dataset"].update(root=_film, preload=80, clips_per_video=256)
custom_hooks = [
    dict(
        type=ProbeHook,
        interval=1000000,
        kind="linear",
        train_dataloader=dict(
            dataset=dict(
                type=LabelledParts,
                parts=[
                    dict(
                        type=VideoDataset,
                        root=_film,
                        sampler=dict(type=DenseClip, length=8, step=step, part=(0.0, 0.6)),
                        transforms=[dict(type=CenterCrop, size=64)],
                        clips_per_video=32,
                        preload=80,
                    )
                    for step in (1, 2, 4)
                ],
            ),
            sampler=dict(type=EpochSampler, shuffle=False),
            batch_size=16,
            num_workers=0,
        ),
        test_dataloader=dict(
            dataset=dict(
                type=LabelledParts,
                parts=[
                    dict(
                        type=VideoDataset,
                        root=_film,
                        sampler=dict(type=DenseClip, length=8, step=step, part=(0.6, 1.0)),
                        transforms=[dict(type=CenterCrop, size=64)],
                        clips_per_video=16,
                        preload=80,
                    )
                    for step in (1, 2, 4)
                ],
            ),
            sampler=dict(type=EpochSampler, shuffle=False),
            batch_size=16,
            num_workers=0,
        ),
    ),
]
