# python tools/train.py configs/maskfeat3d/maskfeat3d_small_300e_modelnet40-1k.py
"""MaskFeat3D fine-tuned on ModelNet40 with 1024 points, by the network of Point-MAE (no published figure is known).

The encoder comes from the pre-training run; from scratch: --cfg-options model.init_cfg=None
"""

from mmengine.config import read_base

from mae3d.checkpoints import PretrainedEncoder
from mae3d.models.heads import PointMAEClassifier

with read_base():
    from .._base_.datasets.modelnet40_1k import *
    from .._base_.runtime_best_on_test import *
    from .._base_.schedules.adamw_300e import *

model = dict(
    type=PointMAEClassifier,
    num_classes=40,
    num_groups=64,
    group_size=32,
    init_cfg=dict(type=PretrainedEncoder, checkpoint="work_dirs/maskfeat3d_small_300e_shapenet/epoch_301.pth"),
)
optim_wrapper.update(optimizer=dict(lr=5e-4), clip_grad=dict(max_norm=10.0))
