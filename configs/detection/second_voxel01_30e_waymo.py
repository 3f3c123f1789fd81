# python tools/train.py configs/detection/second_voxel01_30e_waymo.py
"""SECOND on 20 % of Waymo's frames.

From a pre-trained R-MAE encoder: --cfg-options
    model.init_cfg.type=mae3d.checkpoints.PretrainedEncoder model.init_cfg.checkpoint=FILE
Objects to paste: python tools/prepare_data.py waymo --root data/waymo --ground-truth-database
"""

from mmengine.config import read_base

from mae3d.models.heads.detection import second_waymo

with read_base():
    from .._base_.datasets.waymo_detection import *
    from .._base_.runtime import *
    from .._base_.schedules.adam_onecycle_30e import *

model = dict(type=second_waymo)
