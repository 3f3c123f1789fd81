# python tools/train.py configs/detection/gd-mae_anchor_80e_kitti.py
"""What GD-MAE fine-tunes on KITTI: 82.01, 48.40, 67.16 published (car, pedestrian, cyclist; moderate).

From the pre-trained encoder: --cfg-options
    model.init_cfg.type=mae3d.checkpoints.PretrainedEncoder model.init_cfg.checkpoint=FILE
Objects to paste: python tools/prepare_data.py kitti --root data/kitti --ground-truth-database
"""

from mmengine.config import read_base

from mae3d.models.heads.detection import gd_mae_kitti_anchors

with read_base():
    from .._base_.datasets.kitti_detection import *
    from .._base_.runtime import *
    from .._base_.schedules.adam_onecycle_30e import *

model = dict(type=gd_mae_kitti_anchors)
train_dataloader["dataset"]["transforms"][0].update(counts=dict(Car=15, Pedestrian=15, Cyclist=15))
train_dataloader.update(batch_size=16)
train_cfg.update(max_epochs=80)
