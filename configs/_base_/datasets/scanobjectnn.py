"""ScanObjectNN classification with 2048 points; the configs choose the variant."""

from mmengine.config import read_base

from mae3d.datasets.objects import ScanObjectNN

with read_base():
    from .modelnet40_1k import *

data_preprocessor.train_transforms[0].update(npoints=2048)
data_preprocessor.test_transforms[0].update(npoints=2048)
train_dataloader["dataset"] = dict(type=ScanObjectNN, root="data/ScanObjectNN", split="train", variant="PB_T50_RS")
val_dataloader["dataset"] = dict(type=ScanObjectNN, root="data/ScanObjectNN", split="test", variant="PB_T50_RS")
test_dataloader = val_dataloader
