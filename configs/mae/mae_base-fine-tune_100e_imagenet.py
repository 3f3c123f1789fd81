# python tools/train.py configs/mae/mae_base-fine-tune_100e_imagenet.py
"""MAE's encoder fine-tuned on ImageNet-1k: 83.6 % published.

model.init_cfg.checkpoint may also be an official file (mae_pretrain_vit_base.pth).
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
    patch_size=16,
    embed_dim=768,
    depth=12,
    num_heads=12,
    drop_path=0.1,
    init_cfg=dict(type=PretrainedEncoder, checkpoint="work_dirs/mae_base_800e_imagenet/epoch_800.pth"),
)
train_cfg.update(max_epochs=100)
optim_wrapper.optimizer.update(lr=5e-4)
optim_wrapper.paramwise_cfg.update(layer_decay=0.65)
default_hooks.update(
    checkpoint=dict(type=AtomicCheckpointHook, interval=1, max_keep=1, save_best="classification/accuracy"),
)
