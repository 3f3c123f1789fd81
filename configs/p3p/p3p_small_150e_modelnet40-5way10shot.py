# python tools/train.py configs/p3p/p3p_small_150e_modelnet40-5way10shot.py
"""P3P small, few-shot on ModelNet40, 5 ways and 10 shots.

Fold k: --cfg-options {train,val,test}_dataloader.dataset.fold=k; the figure is the mean over folds 0 to 9. Ways and
shots: --cfg-options {train,val,test}_dataloader.dataset.way=10 {train,val,test}_dataloader.dataset.shot=20
"""

from mmengine.config import read_base

from mae3d.checkpoints import PretrainedEncoder
from mae3d.datasets.objects import ModelNetFewShot
from mae3d.models.heads import P3PClassifier

with read_base():
    from .._base_.datasets.p3p_scanobjectnn import *
    from .._base_.runtime_best_on_test import *
    from .._base_.schedules.p3p_finetune_200e import *

model = dict(
    type=P3PClassifier,
    num_classes=40,
    init_cfg=dict(type=PretrainedEncoder, checkpoint="work_dirs/p3p_small_120e_p3p-lift/epoch_121.pth"),
)
train_cfg.update(max_epochs=150)
train_dataloader["dataset"] = dict(
    type=ModelNetFewShot, root="data/ModelNetFewshot", split="train", way=5, shot=10, fold=0
)
val_dataloader["dataset"] = dict(
    type=ModelNetFewShot, root="data/ModelNetFewshot", split="test", way=5, shot=10, fold=0
)
test_dataloader["dataset"] = dict(
    type=ModelNetFewShot, root="data/ModelNetFewshot", split="test", way=5, shot=10, fold=0
)
