# python tools/train.py configs/t_mae/t-mae_tiny_60e_sequence.py
"""A small T-MAE on one recorded drive with poses, in the layout of SequenceFolder; trains on a CPU.

The drive is expected under data/drive; another place, and another distance between the frames:
    --cfg-options train_dataloader.dataset.root=PATH train_dataloader.dataset.previous.gaps=[2]
"""

from mmengine.config import read_base

from mae3d.datasets.lidar import SequenceFolder
from mae3d.engine.hooks import ReconstructionHook
from mae3d.models.methods import t_mae_tiny

with read_base():
    from .._base_.datasets.driving_augmentation import *
    from .._base_.runtime import *
    from .._base_.schedules.adam_onecycle_30e import *

model = dict(type=t_mae_tiny, point_range=(-25.6, -25.6, -3.0, 25.6, 25.6, 3.0), pillar=0.8)
train_dataloader.update(
    dataset=dict(
        type=SequenceFolder,
        root="data/drive",
        remove_close=2.0,
        previous=dict(gaps=(1, 2), first="drop"),
    ),
    batch_size=2,
    num_workers=0,
    persistent_workers=False,
    pin_memory=False,
)
train_cfg.update(max_epochs=60)
default_hooks["logger"].update(interval=5)
default_hooks["checkpoint"].update(interval=20)
custom_hooks = [dict(type=ReconstructionHook, interval=30, samples=2)]
