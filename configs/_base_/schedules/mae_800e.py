"""MAE's pre-training recipe: AdamW, 40 epochs of warm-up, half a cosine to 0, both by the iteration.

The rate is 1.5e-4 for a batch of 256 and grows with the batch; the published one is 4096 (64 processes of 64, or fewer
that accumulate). Only tensors of one dimension and biases are not decayed, tokens are.
"""

from torch.optim import AdamW

from mae3d.engine.loops import EpochLoop
from mae3d.engine.optim import PrecisionOptimWrapper, TransformerOptimConstructor, WarmupCosineLR

train_cfg = dict(type=EpochLoop, max_epochs=800)
optim_wrapper = dict(
    type=PrecisionOptimWrapper,
    optimizer=dict(type=AdamW, lr=1.5e-4, betas=(0.9, 0.95), weight_decay=0.05),
    constructor=TransformerOptimConstructor,
    paramwise_cfg=dict(no_decay=()),
)
param_scheduler = [
    dict(type=WarmupCosineLR, floor=0.0, warmup=40, start=0.0, shift=True, convert_to_iter_based=True),
]
lr_scaling = "linear_256"
