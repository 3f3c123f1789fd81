# python tools/train.py configs/t_mae/t-mae_tiny_20e_drive.py
"""The small T-MAE of the simulated drives, pre-trained on a recorded drive with poses: its encoder fits their detector.

The drive, ten sweeps a second with intensity from 0 to 1 as KITTI's, is expected under data/drive in the layout of
SequenceFolder; another place:
    --cfg-options train_dataloader.dataset.root=PATH
Frames lie 0.2 or 0.3 s apart; the detector's 0.25 s.
"""

from mmengine.config import read_base

from mae3d.datasets.lidar import SequenceFolder
from mae3d.datasets.transforms.lidar import ScaleFeatures
from mae3d.engine.hooks import ReconstructionHook
from mae3d.models.methods import t_mae_tiny

with read_base():
    from .._base_.datasets.simulated_drives import *
    from .._base_.runtime import *
    from .._base_.schedules.adam_onecycle_30e import *

model = dict(
    type=t_mae_tiny,
    point_range=(-51.2, -25.6, -5.0, 51.2, 25.6, 3.0),
    pillar=0.8,
    vfe_norm=(1e-3, 0.1),
    normalized=True,
)
train_dataloader["dataset"] = dict(
    type=SequenceFolder,
    root="data/drive",
    remove_close=2.0,
    previous=dict(gaps=(2, 3), first="drop"),
    transforms=[dict(type=ScaleFeatures, factors=(255.0,))],  # intensity as nuScenes stores it
)
train_cfg.update(max_epochs=20)
custom_hooks = [dict(type=ReconstructionHook, interval=10, samples=2)]
