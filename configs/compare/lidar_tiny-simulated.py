# python tools/train.py configs/compare/lidar_tiny-simulated.py
"""LiDAR: as lidar_tiny.py on simulated drives, which need no file; the probe is judged on boxes of other streets."""

from mmengine.config import read_base

from mae3d.datasets.lidar import SimulatedDrives

with read_base():
    from .lidar_tiny import *

_drives = dict(type=SimulatedDrives, count=40, columns=360)
train_dataloader["dataset"] = dict(split="train", **_drives)
custom_hooks[0]["train_dataloader"]["dataset"] = dict(type=BoxCrops, dataset=dict(split="train", **_drives))
custom_hooks[0]["test_dataloader"]["dataset"] = dict(type=BoxCrops, dataset=dict(split="test", **_drives))
