# python tools/train.py configs/detection/sst_tiny_20e_simulated-drives.py
"""A small SST with CenterPoint's head on simulated drives: what voxel-mae_tiny_20e_simulated-drives.py pre-trains.

The drives are made once with
    python tools/prepare_data.py simulated-drives --root data/simulated --scenes 25 6 --frames 8 --sweeps 2
From the pre-trained encoder: --cfg-options
    model.init_cfg.type=mae3d.checkpoints.PretrainedEncoder model.init_cfg.checkpoint=FILE
"""

from mmengine.config import read_base

from mae3d.models.heads.detection import sst_centerpoint

with read_base():
    from .._base_.datasets.simulated_drives_detection import *
    from .._base_.models.detector_tiny import *
    from .._base_.runtime import *
    from .._base_.schedules.adam_onecycle_30e import *

model.update(
    type=sst_centerpoint,
    embed_dim=64,
    encoder=dict(depth=2, num_heads=4, window=(10, 10, 1), temperature=10000.0),
    convolutions=dict(channels=32, dilations=(1, 1, 2), residual=()),
)
train_dataloader.dataset.update(features=(), sweeps=2)
val_dataloader.dataset.update(features=(), sweeps=2)
test_dataloader = val_dataloader
train_cfg.update(max_epochs=20, val_interval=10)
optim_wrapper["optimizer"].update(lr=2e-3)
