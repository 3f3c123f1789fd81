# python tools/train.py configs/mae/mae_huge-fine-tune_50e_imagenet.py
"""MAE's encoder fine-tuned on ImageNet-1k: 86.9 % published.

model.init_cfg.checkpoint may also be an official file (mae_pretrain_vit_huge.pth).
"""

from mmengine.config import read_base

from mae3d.checkpoints import PretrainedEncoder
from mae3d.engine.hooks import AtomicCheckpointHook
from mae3d.models.heads import MAEClassifier

with read_base():
    from .._base_.datasets.imagenet_finetune import *
    from .._base_.runtime import *
    from .._base_.schedules.vit_finetune import *

model = dict(
    type=MAEClassifier,
    num_classes=1000,
    patch_size=14,
    embed_dim=1280,
    depth=32,
    num_heads=16,
    drop_path=0.3,
    init_cfg=dict(type=PretrainedEncoder, checkpoint="work_dirs/mae_huge_800e_imagenet/epoch_800.pth"),
)
train_cfg.update(max_epochs=50)
optim_wrapper.optimizer.update(lr=1e-3)
optim_wrapper.paramwise_cfg.update(layer_decay=0.75)
default_hooks.update(
    checkpoint=dict(type=AtomicCheckpointHook, interval=1, max_keep=1, save_best="classification/accuracy"),
)
