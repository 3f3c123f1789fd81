# python tools/train.py configs/detection/centerpoint_voxel01_30e_waymo.py
"""CenterPoint with voxels of 0.1 m on 20 % of Waymo's frames.

Published level 2 mAP/mAPH of vehicles, pedestrians, cyclists: 63.16/62.65, 64.27/58.23, 66.11/64.87 from scratch (with
the plain encoder), 65.28/64.79, 66.90/61.24, 69.43/68.26 from R-MAE.
From a pre-trained R-MAE encoder: --cfg-options
    model.init_cfg.type=mae3d.checkpoints.PretrainedEncoder model.init_cfg.checkpoint=FILE
model.residual_bias=False
Objects to paste: python tools/prepare_data.py waymo --root data/waymo --ground-truth-database
"""

from mmengine.config import read_base

from mae3d.models.heads.detection import centerpoint_waymo

with read_base():
    from .._base_.datasets.waymo_detection import *
    from .._base_.runtime import *
    from .._base_.schedules.adam_onecycle_30e import *

model = dict(type=centerpoint_waymo)
