# python tools/train.py configs/detection/second_voxel01_80e_once.py
"""SECOND on ONCE.

From a pre-trained R-MAE encoder: --cfg-options
    model.init_cfg.type=mae3d.checkpoints.PretrainedEncoder model.init_cfg.checkpoint=FILE
Objects to paste: python tools/prepare_data.py once --root data/once --ground-truth-database
"""

from mmengine.config import read_base

from mae3d.models.heads.detection import second_once

with read_base():
    from .._base_.datasets.once_detection import *
    from .._base_.runtime import *
    from .._base_.schedules.adam_onecycle_30e import *

model = dict(type=second_once)
data_preprocessor["train_transforms"][3].update(point_range=(-75.2, -75.2, -5.0, 75.2, 75.2, 3.0))
data_preprocessor["test_transforms"][0].update(point_range=(-75.2, -75.2, -5.0, 75.2, 75.2, 3.0))
train_dataloader.update(batch_size=4)
train_cfg.update(max_epochs=80)
