# python tools/train.py configs/audio_mae/audio-mae_tiny-fine-tune_40e_digits.py
"""The small Audio-MAE's encoder fine-tuned on spoken digits; from scratch: --cfg-options model.init_cfg=None"""

from mmengine.config import read_base

from mae3d.checkpoints import PretrainedEncoder
from mae3d.engine.hooks import AtomicCheckpointHook
from mae3d.models.heads import AudioMAEClassifier

with read_base():
    from .._base_.datasets.digits_finetune import *
    from .._base_.runtime import *
    from .._base_.schedules.vit_finetune import *

model = dict(
    type=AudioMAEClassifier,
    num_classes=10,
    frames=64,
    bins=64,
    patch_size=8,
    embed_dim=128,
    depth=4,
    num_heads=4,
    time_ratio=0.2,
    frequency_ratio=0.2,
    init_cfg=dict(type=PretrainedEncoder, checkpoint="work_dirs/audio-mae_tiny_40e_digits/epoch_40.pth"),
)
train_cfg.update(max_epochs=40, val_interval=10)
optim_wrapper.optimizer.update(lr=8e-3)
optim_wrapper.paramwise_cfg.update(layer_decay=0.9)
param_scheduler[0].update(warmup=2)
default_hooks.update(checkpoint=dict(type=AtomicCheckpointHook, interval=40, max_keep=1))
