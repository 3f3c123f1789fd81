"""data2vec 2.0's pre-training recipe for images: AdamW, linear warm-up, half a cosine to 0, counted in updates.

Rates are for the published batch: 16 processes of 16 images (base), and are not scaled. Tensors of one dimension and
biases are not decayed. The other modalities change numbers only. Logs and checkpoints are counted in updates too.
"""

from mmengine.config import read_base
from mmengine.hooks import LoggerHook
from mmengine.runner import LogProcessor
from torch.optim import AdamW

from mae3d.engine.hooks import AtomicCheckpointHook
from mae3d.engine.loops import IterationLoop
from mae3d.engine.optim import PrecisionOptimWrapper, TransformerOptimConstructor, WarmupCosineLR

with read_base():
    from ..runtime import *

train_cfg = dict(type=IterationLoop, max_iters=375_300)
optim_wrapper = dict(
    type=PrecisionOptimWrapper,
    optimizer=dict(type=AdamW, lr=1e-3, betas=(0.9, 0.95), weight_decay=0.05),
    constructor=TransformerOptimConstructor,
    paramwise_cfg=dict(no_decay=()),
    clip_grad=dict(max_norm=4.0),
)
param_scheduler = [
    dict(type=WarmupCosineLR, floor=0.0, warmup=50_040, start=0.0, shift=True, by_epoch=False),
]
lr_scaling = "none"
log_processor = dict(type=LogProcessor, window_size=1, by_epoch=False)
default_hooks.update(
    logger=dict(type=LoggerHook, interval=200),
    checkpoint=dict(type=AtomicCheckpointHook, by_epoch=False, interval=25_000, max_keep=1),
)
