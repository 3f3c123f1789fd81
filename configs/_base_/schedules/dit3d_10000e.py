"""DiT-3D's recipe: AdamW at a constant 1e-4 without decay, 10,000 epochs, averaged weights."""

from mmengine.hooks import EMAHook
from torch.optim import AdamW

from mae3d.engine.hooks import AtomicCheckpointHook
from mae3d.engine.loops import EpochLoop
from mae3d.engine.optim import PrecisionOptimWrapper

train_cfg = dict(type=EpochLoop, max_epochs=10000)
optim_wrapper = dict(
    type=PrecisionOptimWrapper,
    optimizer=dict(type=AdamW, lr=1e-4, betas=(0.9, 0.999), weight_decay=0.0),
)
param_scheduler = []
lr_scaling = "none"
custom_hooks = [dict(type=EMAHook, ema_type="ExponentialMovingAverage", momentum=1e-4)]
