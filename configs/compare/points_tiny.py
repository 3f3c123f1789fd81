# python tools/train.py configs/compare/points_tiny.py
"""Points: Point-MAE's patches, masks and loss on labelled clouds; a linear probe tells their classes apart.

The parts are Point-MAE's, the backbone is that of every file in this folder: 4 blocks of width 128 with 4 heads, biases
and positions as in the image model, so that blocks can be exchanged. Without the file: points_tiny-simulated.py.
"""

from mmengine.config import read_base

from mae3d.datasets.objects import LabelledClouds
from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.datasets.transforms import ScaleAndTranslate
from mae3d.engine.hooks import ProbeHook
from mae3d.engine.sampling import EpochSampler
from mae3d.models.backbones import ViT
from mae3d.models.decoders import AppendDecoder
from mae3d.models.layers import CoordinateMlp
from mae3d.models.losses import ChamferLoss
from mae3d.models.masking import RandomMasking
from mae3d.models.methods import MaskedAutoencoder
from mae3d.models.targets import PointPatchTarget
from mae3d.models.tokenizers import PointPatchTokenizer

with read_base():
    from .._base_.schedules.compare import *

model = dict(
    type=MaskedAutoencoder,
    tokenizer=dict(type=PointPatchTokenizer, num_groups=32, group_size=16, embed_dim=128),
    position_embedding=dict(type=CoordinateMlp, embed_dim=128),
    masking=dict(type=RandomMasking, ratio=0.6),
    encoder=dict(type=ViT, embed_dim=128, depth=4, num_heads=4),
    decoder=dict(
        type=AppendDecoder,
        embed_dim=64,
        depth=2,
        num_heads=4,
        position_embedding=dict(type=CoordinateMlp, embed_dim=64),
        input_dim=128,
    ),
    target=dict(type=PointPatchTarget, group_size=16),
    loss=dict(type=ChamferLoss, form="cdl2"),
)
data_preprocessor = dict(type=BatchPreprocessor, train_transforms=[dict(type=ScaleAndTranslate)])
train_dataloader = dict(
    dataset=dict(type=LabelledClouds, path="data/objects/kit_shapes.npz", split="train", npoints=512),
    sampler=dict(type=EpochSampler),
    batch_size=16,
    num_workers=0,
    drop_last=True,
)
custom_hooks = [
    dict(
        type=ProbeHook,
        interval=1000000,
        kind="linear",
        train_dataloader=dict(
            dataset=dict(type=LabelledClouds, path="data/objects/kit_shapes.npz", split="train", npoints=512),
            sampler=dict(type=EpochSampler, shuffle=False),
            batch_size=64,
            num_workers=0,
        ),
        test_dataloader=dict(
            dataset=dict(type=LabelledClouds, path="data/objects/kit_shapes.npz", split="test", npoints=512),
            sampler=dict(type=EpochSampler, shuffle=False),
            batch_size=64,
            num_workers=0,
        ),
    ),
]
