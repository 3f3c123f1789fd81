"""Fine-tuning of Voxel-MAE: AdamW, one cosine cycle 1e-5 -> 1e-3 -> 1e-8 with the peak after a tenth of the steps."""

from torch.optim import AdamW

from mae3d.engine.loops import EpochLoop
from mae3d.engine.optim import OneCycleRate, PrecisionOptimWrapper

train_cfg = dict(type=EpochLoop, max_epochs=288, val_interval=12)
optim_wrapper = dict(
    type=PrecisionOptimWrapper,
    optimizer=dict(type=AdamW, lr=1e-3, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(custom_keys=dict(norm=dict(decay_mult=0.0))),
    clip_grad=dict(max_norm=10.0),
)
param_scheduler = [dict(type=OneCycleRate, by_epoch=False, start=1e-2, final=1e-5, up=0.1)]
lr_scaling = "none"
