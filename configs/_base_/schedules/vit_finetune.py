"""Fine-tuning of ViTs: AdamW with layer-wise decay, 5 epochs of warm-up, half a cosine to 1e-6, by the iteration.

Positions and tokens are not decayed. Rates are for a batch of 256 and grow with it; the published one is 1024.
"""

from torch.optim import AdamW

from mae3d.engine.loops import EpochLoop
from mae3d.engine.optim import PrecisionOptimWrapper, TransformerOptimConstructor, WarmupCosineLR

train_cfg = dict(type=EpochLoop, max_epochs=100)
optim_wrapper = dict(
    type=PrecisionOptimWrapper,
    optimizer=dict(type=AdamW, lr=5e-4, betas=(0.9, 0.999), weight_decay=0.05),
    constructor=TransformerOptimConstructor,
    paramwise_cfg=dict(layer_decay=0.65, no_decay=("token", "position")),
)
param_scheduler = [
    dict(type=WarmupCosineLR, floor=1e-6, warmup=5, start=0.0, shift=True, convert_to_iter_based=True),
]
lr_scaling = "linear_256"
