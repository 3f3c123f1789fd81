# python tools/train.py configs/r_mae/r-mae_plain_30e_waymo.py
"""R-MAE on every fifth frame of Waymo: four of five one-degree sectors are hidden.

The published run also pastes labelled objects into the scenes (GroundTruthSampling), uses two GPUs with four scenes
each, and masks about the corner of the grid: model.mode=corner_index.
"""

from mmengine.config import read_base

from mae3d.datasets.lidar import Waymo
from mae3d.engine.hooks import ReconstructionHook
from mae3d.models.methods import r_mae

with read_base():
    from .._base_.datasets.driving_augmentation import *
    from .._base_.runtime import *
    from .._base_.schedules.adam_onecycle_30e import *

model = dict(
    type=r_mae,
    point_range=(-75.2, -75.2, -2.0, 75.2, 75.2, 4.0),
    voxel_size=(0.1, 0.1, 0.15),
    num_features=5,
    mask_ratio=0.8,
    max_voxels=(150000, 150000),
)
train_dataloader.update(
    dataset=dict(type=Waymo, root="data/waymo", split="train", interval=5, drop_no_label_zones=False)
)
custom_hooks = [dict(type=ReconstructionHook, interval=10, samples=4)]
