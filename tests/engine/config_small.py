# python tools/train.py tests/engine/config_small.py
"""A run of seconds with the real runner."""

from mmengine.config import read_base
from torch.optim import AdamW

from mae3d.engine.loops import EpochLoop, EvaluationLoop, ValidationLoop
from mae3d.engine.optim import PrecisionOptimWrapper, TransformerOptimConstructor, WarmupCosineLR
from mae3d.engine.sampling import EpochSampler
from mae3d.evaluation import Accuracy
from tests.engine.small_hooks import PauseHook, RankWeightsHook
from tests.engine.small_model import Clouds, SmallAutoencoder

with read_base():
    from ...configs._base_.runtime import *

model = dict(type=SmallAutoencoder)
train_dataloader = dict(
    dataset=dict(type=Clouds),
    sampler=dict(type=EpochSampler),
    batch_size=4,
    num_workers=0,
    drop_last=True,
)
val_dataloader = dict(
    dataset=dict(type=Clouds, size=6), sampler=dict(type=EpochSampler, shuffle=False), batch_size=4, num_workers=0
)
test_dataloader = val_dataloader
val_evaluator = dict(type=Accuracy)
test_evaluator = val_evaluator
train_cfg = dict(type=EpochLoop, max_epochs=3)
val_cfg = dict(type=ValidationLoop)
test_cfg = dict(type=EvaluationLoop)
optim_wrapper = dict(
    type=PrecisionOptimWrapper,
    optimizer=dict(type=AdamW, lr=1e-2, weight_decay=0.05),
    constructor=TransformerOptimConstructor,
    clip_grad=dict(max_norm=10.0),
)
param_scheduler = [dict(type=WarmupCosineLR, warmup=1)]
default_hooks.update(logger=dict(interval=1))
custom_hooks = [dict(type=PauseHook, after=0), dict(type=RankWeightsHook)]
