# python tools/train.py tests/tools/comparison/cubes_tiny.py
"""Cubes: blocks of another form on data that are nowhere, with a config beside it that needs none."""

from mmengine.config import read_base

from mae3d.datasets.objects import LabelledClouds
from mae3d.models.methods import P3P

with read_base():
    from .points_tiny import *

model = dict(
    type=P3P,
    embed_dim=32,
    depth=2,
    num_heads=2,
    decoder_dim=16,
    decoder_depth=1,
    decoder_num_heads=2,
    color=False,
    cells=16,
    patch_size=4,
)
train_dataloader["dataset"] = dict(type=LabelledClouds, path="data/cubes/clouds.npz")
