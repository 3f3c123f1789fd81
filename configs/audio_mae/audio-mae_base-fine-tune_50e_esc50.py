# python tools/train.py configs/audio_mae/audio-mae_base-fine-tune_50e_esc50.py
"""Audio-MAE's encoder fine-tuned on four folds of ESC-50: 94.1 % published, the mean of five runs."""

from mmengine.config import read_base

from mae3d.checkpoints import PretrainedEncoder
from mae3d.engine.hooks import AtomicCheckpointHook
from mae3d.models.heads import AudioMAEClassifier

with read_base():
    from .._base_.datasets.esc50 import *
    from .._base_.runtime import *
    from .._base_.schedules.vit_finetune import *

model = dict(
    type=AudioMAEClassifier,
    num_classes=50,
    frames=512,
    drop_path=0.1,
    label_smoothing=0.1,  # as published: the default of main_finetune_esc.py, whose repository has no script for ESC-50
    init_cfg=dict(type=PretrainedEncoder, checkpoint="work_dirs/audio-mae_base_33e_audioset2m/epoch_33.pth"),
)
train_cfg.update(max_epochs=50)
optim_wrapper.optimizer.update(lr=1e-3)
optim_wrapper.paramwise_cfg.update(layer_decay=0.75)
default_hooks.update(
    checkpoint=dict(type=AtomicCheckpointHook, interval=1, max_keep=1, save_best="classification/accuracy"),
)
