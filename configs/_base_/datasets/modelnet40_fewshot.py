"""ModelNet40 few-shot episodes with 1024 points; the configs choose way, shot and fold."""

from mmengine.config import read_base

from mae3d.datasets.objects import ModelNetFewShot

with read_base():
    from .modelnet40_1k import *

train_dataloader["dataset"] = dict(
    type=ModelNetFewShot, root="data/ModelNetFewshot", split="train", way=5, shot=10, fold=0
)
val_dataloader["dataset"] = dict(
    type=ModelNetFewShot, root="data/ModelNetFewshot", split="test", way=5, shot=10, fold=0
)
test_dataloader = val_dataloader
