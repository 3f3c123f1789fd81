# python tools/train.py configs/detection/sst_center_80e_kitti.py
"""SST with four convolutions and CenterPoint's head on KITTI, the one-stage detector of GD-MAE and T-MAE.

Objects to paste: python tools/prepare_data.py kitti --root data/kitti --ground-truth-database
"""

from mmengine.config import read_base

from mae3d.models.heads.detection import sst_centerpoint

with read_base():
    from .._base_.datasets.kitti_detection import *
    from .._base_.runtime import *
    from .._base_.schedules.adam_onecycle_30e import *

model = dict(
    type=sst_centerpoint,
    classes=("Car", "Pedestrian", "Cyclist"),
    point_range=(0.0, -39.68, -3.0, 69.12, 39.68, 1.0),
    in_channels=4,
    head=dict(suppression=dict(threshold=0.01, before=4096, after=500)),
)
data_preprocessor["train_transforms"][3].update(point_range=(0.0, -39.68, -3.0, 69.12, 39.68, 1.0))
data_preprocessor["test_transforms"][0].update(point_range=(0.0, -39.68, -3.0, 69.12, 39.68, 1.0))
train_dataloader.update(batch_size=16)
train_cfg.update(max_epochs=80)
