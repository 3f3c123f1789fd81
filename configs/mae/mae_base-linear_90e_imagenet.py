# python tools/train.py configs/mae/mae_base-linear_90e_imagenet.py
"""Linear probe of MAE's class token: 68.0 % published. LARS, batch 16384, nothing but the head learns."""

from mmengine.config import read_base

from mae3d.checkpoints import PretrainedEncoder
from mae3d.engine.hooks import AtomicCheckpointHook
from mae3d.engine.optim import LARS
from mae3d.models.heads import MAEClassifier

with read_base():
    from .._base_.datasets.imagenet_probe import *
    from .._base_.runtime import *
    from .._base_.schedules.vit_finetune import *

model = dict(
    type=MAEClassifier,
    num_classes=1000,
    protocol="linear_probe",
    init_cfg=dict(type=PretrainedEncoder, checkpoint="work_dirs/mae_base_800e_imagenet/epoch_800.pth"),
)
train_cfg.update(max_epochs=90)
optim_wrapper = dict(
    type=PrecisionOptimWrapper,
    optimizer=dict(type=LARS, lr=0.1, weight_decay=0.0),
    constructor=TransformerOptimConstructor,
)
param_scheduler[0].update(warmup=10, floor=0.0)
default_hooks.update(checkpoint=dict(type=AtomicCheckpointHook, interval=1, max_keep=1))
