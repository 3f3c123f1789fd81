"""One schedule for every objective of a comparison: AdamW, ten steps of warm-up, then the same rate to the end.

A rate that does not fall lets a run be stopped by steps or by the clock without being another run.
"""

from mmengine.config import read_base
from mmengine.hooks import LoggerHook
from mmengine.optim.scheduler import LinearLR
from mmengine.runner import LogProcessor
from torch.optim import AdamW

from mae3d.engine.hooks import AtomicCheckpointHook, CostHook
from mae3d.engine.loops import IterationLoop
from mae3d.engine.optim import PrecisionOptimWrapper, TransformerOptimConstructor

with read_base():
    from ..runtime import *

train_cfg = dict(type=IterationLoop, max_iters=100)
optim_wrapper = dict(
    type=PrecisionOptimWrapper,
    optimizer=dict(type=AdamW, lr=1e-3, betas=(0.9, 0.95), weight_decay=0.05),
    constructor=TransformerOptimConstructor,
)
param_scheduler = [dict(type=LinearLR, start_factor=0.1, begin=0, end=10, by_epoch=False)]
log_processor = dict(type=LogProcessor, window_size=1, by_epoch=False)
default_hooks.update(
    logger=dict(type=LoggerHook, interval=5, log_metric_by_epoch=False),
    checkpoint=dict(type=AtomicCheckpointHook, by_epoch=False, interval=50, max_keep=1),
    cost=dict(type=CostHook),
)
