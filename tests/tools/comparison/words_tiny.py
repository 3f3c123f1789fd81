# python tools/train.py tests/tools/comparison/words_tiny.py
"""Words: data that are nowhere."""

from mmengine.config import read_base

from mae3d.datasets.objects import LabelledClouds

with read_base():
    from .points_tiny import *

train_dataloader["dataset"] = dict(type=LabelledClouds, path="data/words/clouds.npz")
