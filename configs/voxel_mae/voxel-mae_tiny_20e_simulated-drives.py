# python tools/train.py configs/voxel_mae/voxel-mae_tiny_20e_simulated-drives.py
"""A small Voxel-MAE on simulated drives in nuScenes' layout, for a CPU.

The path of voxel-mae_sst_200e_nuscenes-2sweeps.py, with its sweeps, masking and losses; a smaller network, pillars of
0.8 m over a narrower field because the simulated street is straight. The drives are made once with
    python tools/prepare_data.py simulated-drives --root data/simulated --scenes 25 6 --frames 8 --sweeps 2
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
    normalized=True,
    point_range=(-51.2, -25.6, -5.0, 51.2, 25.6, 3.0),
    voxel_size=(0.8, 0.8, 8.0),
    window=(10, 10, 1),
    vfe_channels=(32,),
    embed_dim=64,
    depth=2,
    num_heads=4,
    decoder_depth=1,
    objectives=dict(points=1.0, count=0.1, occupancy=1.0),  # large pillars hold some 40 points: 1.0 drowns the rest
)
train_dataloader.update(batch_size=2, num_workers=0, persistent_workers=False, pin_memory=False)
train_dataloader["dataset"].update(root="data/simulated/nuscenes")
train_cfg.update(max_epochs=20)
optim_wrapper["optimizer"].update(lr=1e-3)
param_scheduler[0].update(end=50)
param_scheduler[1].update(T_max=20, end=20)
custom_hooks = [dict(type=ReconstructionHook, interval=10, samples=2)]
