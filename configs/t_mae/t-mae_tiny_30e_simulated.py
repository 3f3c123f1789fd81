# python tools/train.py configs/t_mae/t-mae_tiny_30e_simulated.py
"""A small T-MAE on simulated streets, frames half a second apart: some minutes of CPU time, no files needed."""

from mmengine.config import read_base

from mae3d.models.methods import t_mae_tiny

with read_base():
    from .._base_.datasets.simulated_streets import *
    from .._base_.runtime import *
    from .._base_.schedules.adam_onecycle_30e import *

model = dict(type=t_mae_tiny, point_range=(-25.6, -25.6, -5.0, 25.6, 25.6, 3.0), pillar=0.8)
train_dataloader.dataset.update(previous_lag=0.5)
custom_hooks[0].dataloader.dataset.update(previous_lag=0.5)
