# python tools/train.py tests/tools/comparison/cubes_tiny-simulated.py
"""Cubes, simulated."""

from mmengine.config import read_base

from mae3d.datasets.objects import SimulatedObjects

with read_base():
    from .cubes_tiny import *

train_dataloader["dataset"] = dict(type=SimulatedObjects, count=8, npoints=64, stored_points=64)
