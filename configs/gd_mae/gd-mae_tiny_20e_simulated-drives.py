# python tools/train.py configs/gd_mae/gd-mae_tiny_20e_simulated-drives.py
"""A small GD-MAE on simulated drives in nuScenes' layout, single sweeps, for a CPU.

The drives are made once with
    python tools/prepare_data.py simulated-drives --root data/simulated --scenes 25 6 --frames 8 --sweeps 6
"""

from mmengine.config import read_base

from mae3d.engine.hooks import ReconstructionHook
from mae3d.models.methods import gd_mae_tiny

with read_base():
    from .._base_.datasets.simulated_drives import *
    from .._base_.runtime import *
    from .._base_.schedules.adam_onecycle_30e import *

model = dict(
    type=gd_mae_tiny,
    point_range=(-51.2, -25.6, -5.0, 51.2, 25.6, 3.0),
    pillar=0.8,
    vfe_norm=(1e-3, 0.1),
    normalized=True,
)
train_cfg.update(max_epochs=20)
custom_hooks = [dict(type=ReconstructionHook, interval=10, samples=2)]
