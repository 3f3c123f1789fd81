# python tools/train.py configs/r_mae/r-mae_tiny_20e_drive.py
"""A small R-MAE on one recorded drive of your own, in the layout of SequenceFolder; trains on a CPU.

The drive is expected under data/drive; another place:
    --cfg-options train_dataloader.dataset.root=PATH
"""

from mmengine.config import read_base

from mae3d.datasets.lidar import SequenceFolder
from mae3d.engine.hooks import ReconstructionHook
from mae3d.models.methods import r_mae

with read_base():
    from .._base_.datasets.driving_augmentation import *
    from .._base_.runtime import *
    from .._base_.schedules.adam_onecycle_30e import *

model = dict(
    type=r_mae,
    point_range=(-25.6, -25.6, -3.0, 25.6, 25.6, 1.0),
    voxel_size=(0.2, 0.2, 0.1),
    mask_ratio=0.7,
    sector_degrees=4.0,
)
train_dataloader.update(
    dataset=dict(type=SequenceFolder, root="data/drive", sweeps=1, features=("intensity",), remove_close=2.0),
    batch_size=2,
    num_workers=0,
    persistent_workers=False,
    pin_memory=False,
)
train_cfg.update(max_epochs=20)
custom_hooks = [dict(type=ReconstructionHook, interval=10, samples=2)]
