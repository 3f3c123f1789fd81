# python tools/train.py tests/tools/comparison/points_tiny.py
"""Points: a small objective on clouds made in memory."""

from mmengine.config import read_base

from mae3d.engine.hooks import ProbeHook
from mae3d.engine.sampling import EpochSampler
from mae3d.models.methods import PointMAE
from tests.engine.small_model import Clouds

with read_base():
    from ....configs._base_.schedules.compare import *

model = dict(
    type=PointMAE,
    num_groups=16,
    group_size=8,
    embed_dim=32,
    depth=2,
    num_heads=2,
    decoder_depth=1,
    decoder_num_heads=2,
)
train_dataloader = dict(
    dataset=dict(type=Clouds, size=24, points=64), sampler=dict(type=EpochSampler), batch_size=4, drop_last=True
)
_labelled = dict(
    dataset=dict(type=Clouds, size=12, points=64), sampler=dict(type=EpochSampler, shuffle=False), batch_size=6
)
custom_hooks = [
    dict(type=ProbeHook, interval=1000000, kind="knn", train_dataloader=_labelled, test_dataloader=_labelled)
]
