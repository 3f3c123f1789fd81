# python tools/train.py configs/maskfeat3d/maskfeat3d_small_300e_scanobjectnn-pb-t50-rs.py
"""MaskFeat3D fine-tuned on ScanObjectNN PB_T50_RS, by the network of Point-MAE: 88.4 % in later comparisons.

The encoder comes from the pre-training run; from scratch: --cfg-options model.init_cfg=None
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
    init_cfg=dict(type=PretrainedEncoder, checkpoint="work_dirs/maskfeat3d_small_300e_shapenet/epoch_301.pth"),
)
optim_wrapper.update(optimizer=dict(lr=5e-4), clip_grad=dict(max_norm=10.0))
train_dataloader.dataset.update(variant="PB_T50_RS")
val_dataloader.dataset.update(variant="PB_T50_RS")
test_dataloader.dataset.update(variant="PB_T50_RS")
