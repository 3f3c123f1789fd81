# python tools/train.py configs/point_cmae/point-cmae_small-linear_300e_scanobjectnn-pb-t50-rs.py
"""Frozen Point-CMAE encoder on ScanObjectNN PB_T50_RS, one linear layer: 73.15 % published.

The encoder comes from the pre-training run; from scratch: --cfg-options model.init_cfg=None
Three layers (77.47 %): --cfg-options model.head=mlp3
Another variant: --cfg-options {train,val,test}_dataloader.dataset.variant=OBJ_BG (or OBJ_ONLY)
"""

from mmengine.config import read_base

from mae3d.checkpoints import PretrainedEncoder
from mae3d.models.heads import PointMAEClassifier

with read_base():
    from .._base_.datasets.scanobjectnn import *
    from .._base_.runtime_best_on_test import *
    from .._base_.schedules.adamw_300e import *

model = dict(
    type=PointMAEClassifier,
    num_classes=15,
    num_groups=128,
    group_size=32,
    head="linear",
    freeze=True,
    init_cfg=dict(type=PretrainedEncoder, checkpoint="work_dirs/point-cmae_small_300e_shapenet55/epoch_301.pth"),
)
optim_wrapper.update(optimizer=dict(lr=1e-4), clip_grad=dict(max_norm=10.0))
