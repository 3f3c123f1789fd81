# python tools/train.py configs/detection/t-mae_tiny_20e_simulated-drives.py
"""The small detector that t-mae_tiny_20e_simulated-drives.py pre-trains, with velocities, on simulated drives.

The drives are made once with
    python tools/prepare_data.py simulated-drives --root data/simulated --scenes 25 6 --frames 8 --sweeps 6
From the pre-trained encoder: --cfg-options
    model.init_cfg.type=mae3d.checkpoints.PretrainedEncoder model.init_cfg.checkpoint=FILE
"""

from mmengine.config import read_base

from mae3d.models.heads.detection import t_mae_centerpoint

with read_base():
    from .._base_.datasets.simulated_drives_detection import *
    from .._base_.models.detector_tiny import *
    from .._base_.runtime import *
    from .._base_.schedules.adam_onecycle_30e import *

model.update(
    type=t_mae_centerpoint,
    vfe_channels=(32,),
    vfe_norm=(1e-3, 0.1),
    widths=(32, 64, 64),
    depth=1,
    embed_dim=32,
    encoder=dict(num_heads=4),
)
train_dataloader.dataset.update(previous=dict(gaps=(5,)))
val_dataloader.dataset.update(previous=dict(gaps=(5,)))
test_dataloader = val_dataloader
train_cfg.update(max_epochs=20, val_interval=10)
optim_wrapper["optimizer"].update(lr=2e-3)
