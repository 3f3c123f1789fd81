# python tools/train.py configs/detection/t-mae_center_80e_once.py
"""What T-MAE fine-tunes on ONCE, on two frames: 67.41 mAP published (vehicle 77.53, pedestrian 54.81, cyclist 69.90).

Previous frames are two before in training and one in evaluation.

From the pre-trained encoder: --cfg-options
    model.init_cfg.type=mae3d.checkpoints.PretrainedEncoder model.init_cfg.checkpoint=FILE
FILE is ours or an official one.
"""

from mmengine.config import read_base

from mae3d.models.heads.detection import t_mae_centerpoint

with read_base():
    from .._base_.datasets.once_detection import *
    from .._base_.runtime import *
    from .._base_.schedules.adam_onecycle_30e import *

model = dict(
    type=t_mae_centerpoint,
    classes=("Car", "Bus", "Truck", "Pedestrian", "Cyclist"),
    point_range=(-74.88, -74.88, -5.0, 74.88, 74.88, 3.0),
    in_channels=4,
    head=dict(
        limit=(-74.88, -74.88, -5.0, 74.88, 74.88, 3.0),
        suppression=dict(threshold=0.5, before=4096, after=500),
    ),
)
train_dataloader["dataset"].update(remove_close=2.0, previous=dict(gaps=(2,)))
train_dataloader.update(batch_size=6)
val_dataloader["dataset"].update(remove_close=2.0, previous=dict(gaps=(1,)))
test_dataloader = val_dataloader
train_cfg.update(max_epochs=80)
optim_wrapper.update(clip_grad=dict(max_norm=35.0))
