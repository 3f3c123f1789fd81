# python tools/train.py configs/audio_mae/audio-mae_base-fine-tune_60e_audioset20k.py
"""Audio-MAE's encoder fine-tuned on AudioSet's balanced 20 k clips: 37.0 mAP published; 4 processes of 8 clips.

model.init_cfg.checkpoint may also be the official pre-training file.
"""

from mmengine.config import read_base

from mae3d.checkpoints import PretrainedEncoder
from mae3d.engine.hooks import AtomicCheckpointHook
from mae3d.models.heads import AudioMAEClassifier

with read_base():
    from .._base_.datasets.audioset_finetune import *
    from .._base_.runtime import *
    from .._base_.schedules.vit_finetune import *

model = dict(
    type=AudioMAEClassifier,
    num_classes=527,
    multi_label=True,
    drop_path=0.1,
    time_ratio=0.2,
    frequency_ratio=0.2,
    init_cfg=dict(type=PretrainedEncoder, checkpoint="work_dirs/audio-mae_base_33e_audioset2m/epoch_33.pth"),
)
train_cfg.update(max_epochs=60, val_begin=15)
optim_wrapper.optimizer.update(lr=1e-3, weight_decay=5e-4)
optim_wrapper.paramwise_cfg.update(layer_decay=0.75)
param_scheduler[0].update(warmup=4)
default_hooks.update(
    checkpoint=dict(
        type=AtomicCheckpointHook, interval=1, max_keep=1, save_best="classification/mean_average_precision"
    ),
)
