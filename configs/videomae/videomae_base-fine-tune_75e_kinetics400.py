# python tools/train.py configs/videomae/videomae_base-fine-tune_75e_kinetics400.py
"""VideoMAE's encoder fine-tuned on Kinetics-400: 81.5 % published after 1600 epochs of pre-training."""

from mmengine.config import read_base

from mae3d.checkpoints import PretrainedEncoder
from mae3d.engine.hooks import AtomicCheckpointHook
from mae3d.models.heads import VideoMAEClassifier

with read_base():
    from .._base_.datasets.kinetics400_videomae_finetune import *
    from .._base_.runtime import *
    from .._base_.schedules.vit_finetune import *

model = dict(
    type=VideoMAEClassifier,
    num_classes=400,
    drop_path=0.1,
    init_cfg=dict(type=PretrainedEncoder, checkpoint="work_dirs/videomae_base_800e_kinetics400/epoch_800.pth"),
)
train_cfg.update(max_epochs=75)
optim_wrapper.paramwise_cfg.update(layer_decay=0.75)
default_hooks.update(
    checkpoint=dict(type=AtomicCheckpointHook, interval=1, max_keep=1, save_best="classification/accuracy"),
)
