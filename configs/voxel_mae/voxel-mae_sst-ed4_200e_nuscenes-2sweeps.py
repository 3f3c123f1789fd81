# python tools/train.py configs/voxel_mae/voxel-mae_sst-ed4_200e_nuscenes-2sweeps.py
"""Voxel-MAE pre-training as published (arXiv 2207.00531): 2 sweeps, four pairs of encoder layers.

nuScenes is expected under data/nuscenes; another place:
    --cfg-options train_dataloader.dataset.root=PATH
"""

from mmengine.config import read_base

from mae3d.engine.hooks import ReconstructionHook
from mae3d.models.methods import VoxelMAE

with read_base():
    from .._base_.datasets.nuscenes_voxel_mae import *
    from .._base_.runtime import *
    from .._base_.schedules.voxel_mae_200e import *

model = dict(
    type=VoxelMAE,
    in_channels=4,
    point_range=(-50, -50, -5, 50, 50, 3),
    voxel_size=(0.5, 0.5, 8),
    window=(16, 16, 1),
    embed_dim=128,
    depth=4,
    num_heads=8,
    decoder_depth=6,
    mask_ratio=0.7,
    empty_ratio=0.1,
    num_points=10,
    objectives=dict(points=1.0, count=1.0, occupancy=1.0),
)
train_dataloader["dataset"].update(sweeps=2, features=())
custom_hooks = [dict(type=ReconstructionHook, interval=20, samples=4)]
