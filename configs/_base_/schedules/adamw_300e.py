"""The recipe of the object-point family: AdamW, ten epochs of warm-up, cosine to 1e-6.

As published, the loop runs one epoch more than the schedule has and sets each epoch's rate one epoch late, so the two
first epochs both run at 1e-6. For the plain schedule: train_cfg.extra_epoch=False param_scheduler.0.delayed=False
"""

from torch.optim import AdamW

from mae3d.engine.loops import EpochLoop
from mae3d.engine.optim import PrecisionOptimWrapper, TransformerOptimConstructor, WarmupCosineLR

train_cfg = dict(type=EpochLoop, max_epochs=300, extra_epoch=True)
optim_wrapper = dict(
    type=PrecisionOptimWrapper,
    optimizer=dict(type=AdamW, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05),
    constructor=TransformerOptimConstructor,
)
param_scheduler = [dict(type=WarmupCosineLR, floor=1e-6, warmup=10, start=1e-6, delayed=True)]
lr_scaling = "none"
