# python tools/train.py configs/point_mae/point-mae_tiny_5e_shapenet55.py
"""The run of `make demo-objects`: a small Point-MAE on a folder in ShapeNet55 layout, 1.5 minutes on two CPU cores.

Write such a folder with:
    python tools/prepare_data.py simulated-objects --root data --layouts shapenet55 --count 2400 --points 2048
"""

from mmengine.config import read_base

from mae3d.engine.hooks import AtomicCheckpointHook
from mae3d.models.methods import PointMAE

with read_base():
    from .._base_.datasets.shapenet55 import *
    from .._base_.runtime import *
    from .._base_.schedules.adamw_300e import *

model = dict(
    type=PointMAE,
    num_groups=16,
    group_size=32,
    embed_dim=96,
    depth=4,
    num_heads=3,
    decoder_depth=2,
    decoder_num_heads=3,
    drop_path=0.0,
)
train_dataloader.update(
    dataset=dict(type=ShapeNet55, root="data/ShapeNet55-34", split="train", npoints=512),
    batch_size=32,
    num_workers=0,
    persistent_workers=False,
    pin_memory=False,
)
train_cfg.update(max_epochs=5, extra_epoch=False)
optim_wrapper.optimizer.update(lr=2e-3)
param_scheduler[0].update(warmup=1, start=4e-4, delayed=False)
default_hooks.update(checkpoint=dict(type=AtomicCheckpointHook, interval=1, max_keep=1))
