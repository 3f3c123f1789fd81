# python tools/train.py configs/point_mae/point-mae_small_150e_modelnet40-5way10shot.py
"""Point-MAE few-shot, 5 ways and 10 shots: 96.3 +- 2.5 % published over ten folds.

The encoder comes from the pre-training run; from scratch: --cfg-options model.init_cfg=None
Fold k: --cfg-options {train,val,test}_dataloader.dataset.fold=k; the figure is the mean over folds 0 to 9.
"""

from mmengine.config import read_base

from mae3d.checkpoints import PretrainedEncoder
from mae3d.models.heads import PointMAEClassifier

with read_base():
    from .._base_.datasets.modelnet40_fewshot import *
    from .._base_.runtime_best_on_test import *
    from .._base_.schedules.adamw_300e import *

model = dict(
    type=PointMAEClassifier,
    num_classes=40,
    num_groups=64,
    group_size=32,
    init_cfg=dict(type=PretrainedEncoder, checkpoint="work_dirs/point-mae_small_300e_shapenet55/epoch_301.pth"),
)
optim_wrapper.update(optimizer=dict(lr=5e-4), clip_grad=dict(max_norm=10.0))
train_cfg.update(max_epochs=150)
train_dataloader.dataset.update(way=5, shot=10, fold=0)
val_dataloader.dataset.update(way=5, shot=10, fold=0)
test_dataloader.dataset.update(way=5, shot=10, fold=0)
