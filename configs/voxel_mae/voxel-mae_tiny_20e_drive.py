# python tools/train.py configs/voxel_mae/voxel-mae_tiny_20e_drive.py
"""A small Voxel-MAE on one recorded drive of your own, in the layout of SequenceFolder; trains on a CPU.

Voxels are one metre high, unlike the published pillars, so that heights weigh in the Chamfer loss as places do; points
enter normalized. The drive is expected under data/drive; another place:
    --cfg-options train_dataloader.dataset.root=PATH
"""

from mmengine.config import read_base

from mae3d.datasets.lidar import SequenceFolder
from mae3d.engine.hooks import ReconstructionHook
from mae3d.models.methods import VoxelMAE

with read_base():
    from .._base_.datasets.nuscenes_voxel_mae import *
    from .._base_.runtime import *
    from .._base_.schedules.voxel_mae_200e import *

model = dict(
    type=VoxelMAE,
    in_channels=4,
    normalized=True,
    point_range=(-24.0, -24.0, -3.0, 24.0, 24.0, 1.0),
    voxel_size=(0.5, 0.5, 1.0),
    window=(12, 12, 4),
    vfe_channels=(32,),
    embed_dim=64,
    depth=2,
    num_heads=4,
    decoder_depth=1,
    objectives=dict(points=1.0, count=0.02, occupancy=1.0),  # voxels of a dense sensor hold up to hundreds of points
)
train_dataloader.update(
    batch_size=2,
    num_workers=0,
    persistent_workers=False,
    pin_memory=False,
)
train_dataloader["dataset"] = dict(type=SequenceFolder, root="data/drive", sweeps=2, features=(), remove_close=2.0)
train_cfg.update(max_epochs=20)
optim_wrapper["optimizer"].update(lr=1e-3)
param_scheduler[0].update(end=50)
param_scheduler[1].update(T_max=20, end=20)
custom_hooks = [dict(type=ReconstructionHook, interval=10, samples=2)]
