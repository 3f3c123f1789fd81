"""Fine-tuning of P3P: AdamW, layer decay 0.53, five epochs of warm-up, cosine by iteration to 1e-6, clipped at 10."""

from torch.optim import AdamW

from mae3d.engine.loops import EpochLoop
from mae3d.engine.optim import PrecisionOptimWrapper, TransformerOptimConstructor, WarmupCosineLR

train_cfg = dict(type=EpochLoop, max_epochs=200)
optim_wrapper = dict(
    type=PrecisionOptimWrapper,
    optimizer=dict(type=AdamW, lr=2.5e-4, weight_decay=0.05),
    constructor=TransformerOptimConstructor,
    paramwise_cfg=dict(layer_decay=0.53),
    clip_grad=dict(max_norm=10.0),
)
param_scheduler = [
    dict(type=WarmupCosineLR, floor=1e-6, warmup=5, start=0.0, shift=True, by_epoch=True, convert_to_iter_based=True)
]
lr_scaling = "none"
