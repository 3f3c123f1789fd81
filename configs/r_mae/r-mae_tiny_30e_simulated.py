# python tools/train.py configs/r_mae/r-mae_tiny_30e_simulated.py
"""A small R-MAE on simulated streets: about a minute of CPU time, no files needed.

Pictures of what it makes of hidden sectors go to the work directory. So short a run learns where near the sensor cells
are occupied, not yet their shape: the stride pattern of the decoder is still visible.
"""

from mmengine.config import read_base

from mae3d.models.methods import r_mae

with read_base():
    from .._base_.datasets.simulated_streets import *
    from .._base_.runtime import *
    from .._base_.schedules.adam_onecycle_30e import *

model = dict(
    type=r_mae,
    point_range=(-25.6, -25.6, -5.0, 25.6, 25.6, 3.0),
    voxel_size=(0.4, 0.4, 0.2),
    mask_ratio=0.5,
    sector_degrees=10.0,
    decoding="dense",  # the sectors that stay reach most of so small a grid
)
