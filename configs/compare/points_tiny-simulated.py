# python tools/train.py configs/compare/points_tiny-simulated.py
"""Points: as points_tiny.py on simulated objects, which need no file."""

from mmengine.config import read_base

from mae3d.datasets.objects import SimulatedObjects

with read_base():
    from .points_tiny import *

_objects = dict(type=SimulatedObjects, count=320, npoints=512, stored_points=1024)
train_dataloader["dataset"] = dict(split="train", **_objects)
custom_hooks[0]["train_dataloader"]["dataset"] = dict(split="train", **_objects)
custom_hooks[0]["test_dataloader"]["dataset"] = dict(split="test", **_objects)
