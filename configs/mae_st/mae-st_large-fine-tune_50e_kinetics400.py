# python tools/train.py configs/mae_st/mae-st_large-fine-tune_50e_kinetics400.py
"""MAE-ST's encoder fine-tuned on Kinetics-400: 84.8 % published.

The published rate of 2.4e-3 counts both clips of a video, ours counts videos: 4.8e-3.
"""

from mmengine.config import read_base

from mae3d.checkpoints import PretrainedEncoder
from mae3d.engine.hooks import AtomicCheckpointHook
from mae3d.models.heads import MAESTClassifier

with read_base():
    from .._base_.datasets.kinetics400_mae_st_finetune import *
    from .._base_.runtime import *
    from .._base_.schedules.vit_finetune import *

model = dict(
    type=MAESTClassifier,
    num_classes=400,
    embed_dim=1024,
    depth=24,
    num_heads=16,
    drop_path=0.2,
    dropout=0.3,
    init_cfg=dict(type=PretrainedEncoder, checkpoint="work_dirs/mae-st_large_100e_kinetics400/epoch_100.pth"),
)
train_cfg.update(max_epochs=50)
optim_wrapper.update(optimizer=dict(lr=4.8e-3), clip_grad=dict(max_norm=5.0))
optim_wrapper.paramwise_cfg.update(layer_decay=0.75)
default_hooks.update(
    checkpoint=dict(type=AtomicCheckpointHook, interval=1, max_keep=1, save_best="classification/accuracy"),
)
