# python tools/train.py configs/mae/mae_base-attentive_20e_imagenet.py
"""Attentive probe of MAE's frozen latents: one cross-attention block and a linear layer learn."""

from mmengine.config import read_base

from mae3d.checkpoints import PretrainedEncoder
from mae3d.engine.hooks import AtomicCheckpointHook
from mae3d.models.heads import MAEClassifier

with read_base():
    from .._base_.datasets.imagenet_probe import *
    from .._base_.runtime import *
    from .._base_.schedules.vit_finetune import *

model = dict(
    type=MAEClassifier,
    num_classes=1000,
    protocol="attentive_probe",
    init_cfg=dict(type=PretrainedEncoder, checkpoint="work_dirs/mae_base_800e_imagenet/epoch_800.pth"),
)
train_cfg.update(max_epochs=20)
optim_wrapper.paramwise_cfg.update(layer_decay=None)
param_scheduler[0].update(warmup=0, floor=0.0)
train_dataloader.update(batch_size=128)
default_hooks.update(checkpoint=dict(type=AtomicCheckpointHook, interval=1, max_keep=1))
