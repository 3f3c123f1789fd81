"""Voxel-MAE's recipe: AdamW, 1000 iterations of warm-up, cosine by epoch to almost 0, gradients clipped at 10.

Published with half precision and a loss scale of 32; here add --amp bf16 or --amp fp16. The number of GPUs of the
published runs is not known, so the rate is not scaled.
"""

from mmengine.optim import CosineAnnealingLR, LinearLR
from torch.optim import AdamW

from mae3d.engine.loops import EpochLoop
from mae3d.engine.optim import PrecisionOptimWrapper

train_cfg = dict(type=EpochLoop, max_epochs=200)
optim_wrapper = dict(
    type=PrecisionOptimWrapper,
    optimizer=dict(type=AdamW, lr=5e-4, betas=(0.95, 0.99), weight_decay=0.001),
    clip_grad=dict(max_norm=10),
)
param_scheduler = [
    dict(type=LinearLR, start_factor=0.1, by_epoch=False, begin=0, end=1000),
    dict(type=CosineAnnealingLR, T_max=200, eta_min_ratio=1e-7, by_epoch=True, begin=0, end=200),
]
lr_scaling = "none"
