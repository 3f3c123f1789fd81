# python tools/train.py configs/detection/centerpoint_pillar_30e_waymo.py
"""CenterPoint on pillars of 0.32 m on 20 % of Waymo's frames."""

from mmengine.config import read_base

from mae3d.models.heads.detection import centerpoint_pillar

with read_base():
    from .._base_.datasets.waymo_detection import *
    from .._base_.runtime import *
    from .._base_.schedules.adam_onecycle_30e import *

model = dict(type=centerpoint_pillar)
