# python tools/train.py configs/fastdit3d/fastdit3d_small_7k_simulated.py
"""A class-conditional FastDiT-3D on simulated airplanes, cars and chairs: minutes on one GPU.

The first 700 iterations hide 95 and 99 % of the tokens as published, the others none: so short a run does not
teach an encoder that has seen a dozen tokens of a cloud what to do with all 512. tools/generation_demo.py runs it.

Its data: python tools/prepare_data.py simulated-objects --root data --layouts shapenet15k
--count 1800 --categories airplane car chair
"""

from mmengine.config import read_base
from mmengine.hooks import EMAHook
from mmengine.optim import LinearLR
from torch.optim import AdamW

from mae3d.engine.hooks import AtomicCheckpointHook, TimeLimitHook, WholeCloudsHook
from mae3d.engine.loops import IterationLoop
from mae3d.engine.optim import PrecisionOptimWrapper
from mae3d.models.methods import FastDiT3D

with read_base():
    from .._base_.datasets.shapenet15k import *
    from .._base_.runtime import *

model = dict(
    type=FastDiT3D,
    resolution=32,
    patch_size=4,
    embed_dim=384,
    depth=8,
    num_heads=6,
    num_classes=3,
    sampling=dict(sampler="ddpm", steps=250, clip=3.0),
)
train_dataloader.update(batch_size=64)
train_dataloader["dataset"].update(categories=["airplane", "car", "chair"])
test_dataloader["dataset"].update(split="test", categories=["airplane", "car", "chair"])
test_evaluator.update(distances=["cd"], radius=1.0)

train_cfg = dict(type=IterationLoop, max_iters=7000)
optim_wrapper = dict(
    type=PrecisionOptimWrapper,
    optimizer=dict(type=AdamW, lr=3e-4, betas=(0.9, 0.99), weight_decay=0.0),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [dict(type=LinearLR, start_factor=0.01, begin=0, end=200, by_epoch=False)]
lr_scaling = "none"
custom_hooks = [
    dict(type=TimeLimitHook, minutes=4.0),
    dict(type=WholeCloudsHook, begin=700),
    dict(type=EMAHook, ema_type="ExponentialMovingAverage", momentum=2e-3),
]
default_hooks.update(
    logger=dict(type=LoggerHook, interval=100),
    checkpoint=dict(type=AtomicCheckpointHook, by_epoch=False, interval=1000, max_keep=0),
)
log_processor = dict(type=LogProcessor, window_size=1, by_epoch=False)
