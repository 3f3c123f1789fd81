"""The coloured scans of ScanObjectNN for P3P, up to 100 000 points each; the configs choose the variant."""

from mmengine.config import read_base

from mae3d.datasets.objects import ScanObjectNNScans

with read_base():
    from .p3p_scanobjectnn import *

train_dataloader["dataset"].update(type=ScanObjectNNScans)
val_dataloader["dataset"].update(type=ScanObjectNNScans)
