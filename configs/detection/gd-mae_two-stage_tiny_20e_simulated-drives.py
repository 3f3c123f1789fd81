# python tools/train.py configs/detection/gd-mae_two-stage_tiny_20e_simulated-drives.py
"""The small detector of gd-mae_tiny_20e_simulated-drives.py with a small second stage, both trained together.

The drives are made once with
    python tools/prepare_data.py simulated-drives --root data/simulated --scenes 25 6 --frames 8 --sweeps 6
On a first stage that is trained already: --cfg-options model.freeze_first=True
    model.init_cfg.type=mae3d.checkpoints.PretrainedEncoder model.init_cfg.checkpoint=FILE
"""

from mmengine.config import read_base

from mae3d.models.heads.detection import gd_mae_two_stage

with read_base():
    from .._base_.datasets.simulated_drives_detection import *
    from .._base_.models.detector_tiny import *
    from .._base_.runtime import *
    from .._base_.schedules.adam_onecycle_30e import *

model.update(
    type=gd_mae_two_stage,
    vfe_channels=(32,),
    vfe_norm=(1e-3, 0.1),
    widths=(32, 64, 64),
    depth=1,
    embed_dim=32,
    encoder=dict(num_heads=4),
    refiner=dict(
        sampler=dict(num_points=48, cell=0.3),
        edge_channels=(16, 16, 32),
        gate_channels=32,
        hidden_channels=128,
        embed_dim=64,
    ),
    sampler=dict(count=48),
    freeze_first=False,
)
model.head.suppression.update(kind="class", after=60)
train_cfg.update(max_epochs=20, val_interval=10)
optim_wrapper["optimizer"].update(lr=2e-3)
