# python tools/train.py configs/detection/sst_center_30e_waymo.py
"""SST with four convolutions and CenterPoint's head on 20 % of Waymo's frames.

The one-stage detector of GD-MAE and T-MAE.

Objects to paste: python tools/prepare_data.py waymo --root data/waymo --ground-truth-database
"""

from mmengine.config import read_base

from mae3d.models.heads.detection import sst_centerpoint

with read_base():
    from .._base_.datasets.waymo_detection import *
    from .._base_.runtime import *
    from .._base_.schedules.adam_onecycle_30e import *

model = dict(type=sst_centerpoint)
data_preprocessor["train_transforms"][3].update(point_range=(-74.88, -74.88, -2.0, 74.88, 74.88, 4.0))
data_preprocessor["test_transforms"][0].update(point_range=(-74.88, -74.88, -2.0, 74.88, 74.88, 4.0))
train_dataloader.update(batch_size=8)
