"""ScanObjectNN for P3P: all 2048 points, no colours; the configs choose the variant."""

from mmengine.config import read_base

from mae3d.datasets.objects import ScanObjectNN, collate_clouds
from mae3d.engine.loops import EvaluationLoop, ValidationLoop
from mae3d.engine.sampling import EpochSampler
from mae3d.evaluation import Accuracy

with read_base():
    from .p3p_objects import *

data_preprocessor["train_transforms"][4].update(low=0.8)
train_dataloader = dict(
    dataset=dict(type=ScanObjectNN, root="data/ScanObjectNN", split="train", variant="PB_T50_RS"),
    sampler=dict(type=EpochSampler),
    collate_fn=dict(type=collate_clouds),
    batch_size=32,
    num_workers=8,
    drop_last=True,
    persistent_workers=True,
    pin_memory=True,
)
val_dataloader = dict(
    dataset=dict(type=ScanObjectNN, root="data/ScanObjectNN", split="test", variant="PB_T50_RS"),
    sampler=dict(type=EpochSampler, shuffle=False),
    collate_fn=dict(type=collate_clouds),
    batch_size=64,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
)
val_cfg = dict(type=ValidationLoop)
val_evaluator = dict(type=Accuracy)
test_dataloader = val_dataloader
test_cfg = dict(type=EvaluationLoop)
test_evaluator = val_evaluator
