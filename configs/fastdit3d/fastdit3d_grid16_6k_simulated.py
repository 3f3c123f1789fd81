# python tools/train.py configs/fastdit3d/fastdit3d_grid16_6k_simulated.py
"""A class-conditional FastDiT-3D on simulated airplanes, cars and chairs that trains on CPU cores, in an hour or two.

16^3 voxels in 64 tokens, 1024 points. The first 1500 iterations hide half of the occupied tokens and three quarters
of the empty ones, the others none. To run all of it:
    python tools/generation_demo.py --config configs/fastdit3d/fastdit3d_grid16_6k_simulated.py --minutes 120

Its data: python tools/prepare_data.py simulated-objects --root data --layouts shapenet15k
--count 1800 --categories airplane car chair
"""

from mmengine.config import read_base
from mmengine.hooks import EMAHook
from mmengine.optim import CosineAnnealingLR, LinearLR
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
    embed_dim=144,
    depth=5,
    num_heads=3,
    num_experts=2,
    decoder_dim=144,
    decoder_depth=2,
    decoder_num_heads=3,
    window=2,
    window_blocks=(0,),
    num_classes=3,
    masking=dict(type=OccupancyMasking, foreground_ratio=0.5, background_ratio=0.75),
    sampling=dict(sampler="ddpm", steps=250, clip=3.0),
)
train_dataloader.update(batch_size=32, num_workers=0, persistent_workers=False)
train_dataloader["dataset"].update(categories=["airplane", "car", "chair"], npoints=1024)
test_dataloader.update(num_workers=0)
test_dataloader["dataset"].update(split="test", categories=["airplane", "car", "chair"], npoints=1024)
test_evaluator.update(distances=["cd"], radius=1.0)

train_cfg = dict(type=IterationLoop, max_iters=6000)
optim_wrapper = dict(
    type=PrecisionOptimWrapper,
    optimizer=dict(type=AdamW, lr=1e-3, betas=(0.9, 0.99), weight_decay=0.0),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type=LinearLR, start_factor=0.01, begin=0, end=100, by_epoch=False),
    dict(type=CosineAnnealingLR, begin=100, end=6000, T_max=5900, eta_min=5e-5, by_epoch=False),
]
lr_scaling = "none"
custom_hooks = [
    dict(type=TimeLimitHook, minutes=120.0),
    dict(type=WholeCloudsHook, begin=1500),
    dict(type=EMAHook, ema_type="ExponentialMovingAverage", momentum=2e-3),
]
default_hooks.update(
    logger=dict(type=LoggerHook, interval=100),
    checkpoint=dict(type=AtomicCheckpointHook, by_epoch=False, interval=1000, max_keep=0),
)
log_processor = dict(type=LogProcessor, window_size=50, by_epoch=False)
