# python tools/train.py configs/fastdit3d/fastdit3d_tiny_300_simulated.py
"""Every mechanism of FastDiT-3D in about a minute of CPU time: 16^3 voxels, 512 points, three fifths hidden.

Its data: python tools/prepare_data.py simulated-objects --root data --layouts shapenet15k
--count 90 --categories car chair
"""

from mmengine.config import read_base
from mmengine.optim import LinearLR
from torch.optim import AdamW

from mae3d.engine.hooks import AtomicCheckpointHook, TimeLimitHook, WholeCloudsHook
from mae3d.engine.loops import IterationLoop
from mae3d.engine.optim import PrecisionOptimWrapper
from mae3d.models.masking import OccupancyMasking
from mae3d.models.methods import FastDiT3D

with read_base():
    from .._base_.datasets.shapenet15k import *
    from .._base_.runtime import *

model = dict(
    type=FastDiT3D,
    resolution=16,
    patch_size=4,
    embed_dim=96,
    depth=3,
    num_heads=3,
    decoder_dim=96,
    decoder_depth=2,
    decoder_num_heads=3,
    window=2,
    window_blocks=(0,),
    num_classes=2,
    masking=dict(type=OccupancyMasking, foreground_ratio=0.5, background_ratio=0.75),
    sampling=dict(sampler="dpm-solver++", steps=20, clip=3.0),
)
train_dataloader.update(batch_size=16, num_workers=0, persistent_workers=False)
train_dataloader["dataset"].update(categories=["car", "chair"], npoints=512)
test_dataloader.update(num_workers=0)
test_dataloader["dataset"].update(split="test", categories=["car", "chair"], npoints=512)
test_evaluator.update(distances=["cd"], radius=1.0)

train_cfg = dict(type=IterationLoop, max_iters=300)
optim_wrapper = dict(
    type=PrecisionOptimWrapper,
    optimizer=dict(type=AdamW, lr=1e-3, betas=(0.9, 0.99), weight_decay=0.0),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [dict(type=LinearLR, start_factor=0.01, begin=0, end=20, by_epoch=False)]
lr_scaling = "none"
custom_hooks = [dict(type=TimeLimitHook, minutes=4.0), dict(type=WholeCloudsHook, begin=200)]
default_hooks.update(checkpoint=dict(type=AtomicCheckpointHook, by_epoch=False, interval=100, max_keep=0))
log_processor = dict(type=LogProcessor, window_size=1, by_epoch=False)
