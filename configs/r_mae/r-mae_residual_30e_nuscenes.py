# python tools/train.py configs/r_mae/r-mae_residual_30e_nuscenes.py
"""R-MAE for CenterPoint on ten sweeps of nuScenes: nine of ten one-degree sectors are hidden.

The published run also resamples frames by class (ClassBalanced) and pastes labelled objects (GroundTruthSampling),
uses two GPUs with six scenes each, and masks about the corner of the grid: model.mode=corner_index.
"""

from mmengine.config import read_base

from mae3d.datasets.lidar import NuScenes
from mae3d.engine.hooks import ReconstructionHook
from mae3d.models.methods import r_mae_residual

with read_base():
    from .._base_.datasets.driving_augmentation import *
    from .._base_.runtime import *
    from .._base_.schedules.adam_onecycle_30e import *

model = dict(
    type=r_mae_residual,
    point_range=(-51.2, -51.2, -5.0, 51.2, 51.2, 3.0),
    voxel_size=(0.1, 0.1, 0.2),
    num_features=5,
    mask_ratio=0.9,
    max_points=10,
    max_voxels=(60000, 60000),
)
data_preprocessor["train_transforms"][1].update(low=-0.3925, high=0.3925)
train_dataloader.update(
    dataset=dict(type=NuScenes, root="data/nuscenes", split="train", sweeps=10, remove_close=1.0, close_in="sweeps"),
    batch_size=6,
)
custom_hooks = [dict(type=ReconstructionHook, interval=10, samples=4)]
