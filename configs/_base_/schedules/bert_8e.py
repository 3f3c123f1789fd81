"""The recipe of transformers' trainer: AdamW, a tenth of the steps to warm up, then linearly to 0, clipped gradients.

Biases and norms are not decayed. The rate is for the batch as it is; it does not grow with it.
"""

from torch.optim import AdamW

from mae3d.engine.loops import EpochLoop
from mae3d.engine.optim import PrecisionOptimWrapper, TransformerOptimConstructor, WarmupLinearLR

train_cfg = dict(type=EpochLoop, max_epochs=8)
optim_wrapper = dict(
    type=PrecisionOptimWrapper,
    optimizer=dict(type=AdamW, lr=1e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01),
    constructor=TransformerOptimConstructor,
    paramwise_cfg=dict(no_decay=()),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [dict(type=WarmupLinearLR, warmup_ratio=0.1, convert_to_iter_based=True)]
