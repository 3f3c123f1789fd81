"""OpenPCDet's adam_onecycle: AdamW, one cosine cycle of rate and momentum, gradients clipped at 10.

Weight decay acts on every parameter, norms and biases too, as published.
"""

from torch.optim import AdamW

from mae3d.engine.loops import EpochLoop
from mae3d.engine.optim import OneCycleMomentum, OneCycleRate, PrecisionOptimWrapper

train_cfg = dict(type=EpochLoop, max_epochs=30, val_interval=5)
optim_wrapper = dict(
    type=PrecisionOptimWrapper,
    optimizer=dict(type=AdamW, lr=3e-3, betas=(0.95, 0.99), weight_decay=0.01),
    clip_grad=dict(max_norm=10.0),
)
param_scheduler = [
    dict(type=OneCycleRate, by_epoch=False, start=0.1, final=1e-5, up=0.4),
    dict(type=OneCycleMomentum, by_epoch=False, high=0.95, low=0.85, up=0.4),
]
lr_scaling = "none"
