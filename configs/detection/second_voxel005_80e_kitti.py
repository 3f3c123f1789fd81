# python tools/train.py configs/detection/second_voxel005_80e_kitti.py
"""SECOND on KITTI: 79.08, 44.52, 64.49 published from scratch (car, pedestrian, cyclist; moderate, R40).

79.64, 47.33, 65.65 from R-MAE; its encoder: --cfg-options model.init_cfg.type=mae3d.checkpoints.PretrainedEncoder
model.init_cfg.checkpoint=FILE
Objects to paste: python tools/prepare_data.py kitti --root data/kitti --ground-truth-database
"""

from mmengine.config import read_base

from mae3d.models.heads.detection import second_kitti

with read_base():
    from .._base_.datasets.kitti_detection import *
    from .._base_.runtime import *
    from .._base_.schedules.adam_onecycle_30e import *

model = dict(type=second_kitti)
train_cfg.update(max_epochs=80)
