# python tools/train.py configs/r_mae/r-mae_plain_10e_kitti.py
"""R-MAE for SECOND and PV-RCNN on KITTI: four of five one-degree sectors are hidden.

The published run also pastes labelled objects into the scenes (GroundTruthSampling), uses two GPUs with four scenes
each, and masks about the corner of the grid: model.mode=corner_index.
"""

from mmengine.config import read_base

from mae3d.datasets.lidar import Kitti
from mae3d.engine.hooks import ReconstructionHook
from mae3d.models.methods import r_mae

with read_base():
    from .._base_.datasets.driving_augmentation import *
    from .._base_.runtime import *
    from .._base_.schedules.adam_onecycle_30e import *

model = dict(type=r_mae)
data_preprocessor["train_transforms"][0].update(axes=("y",))
train_dataloader.update(dataset=dict(type=Kitti, root="data/kitti", split="train"))
train_cfg.update(max_epochs=10)
custom_hooks = [dict(type=ReconstructionHook, interval=5, samples=4)]
