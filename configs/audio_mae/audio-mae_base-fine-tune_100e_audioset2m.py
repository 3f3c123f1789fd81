# python tools/train.py configs/audio_mae/audio-mae_base-fine-tune_100e_audioset2m.py
"""Audio-MAE's encoder fine-tuned on AudioSet-2M: 47.3 mAP published; 64 processes of 4 clips.

An epoch is 200,000 clips drawn so that rare classes come as often as common ones. The table holds both training
lists, one after the other, with paths such as unbalanced_train/NAME.flac in its first column.
"""

from mmengine.config import read_base

from mae3d.checkpoints import PretrainedEncoder
from mae3d.engine.hooks import AtomicCheckpointHook
from mae3d.engine.sampling import WeightedSampler
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
train_dataloader.dataset.update(
    table="data/audioset/train_segments.csv",
    root="data/audioset",
    path="{path}",
    columns=("path", "start_seconds", "end_seconds", "positive_labels"),
)
train_dataloader.update(batch_size=4, sampler=dict(type=WeightedSampler, samples=200_000))
train_cfg.update(max_epochs=100, val_begin=20)
optim_wrapper.optimizer.update(lr=2e-4, weight_decay=5e-4)
optim_wrapper.paramwise_cfg.update(layer_decay=0.75)
param_scheduler[0].update(warmup=10)
default_hooks.update(
    checkpoint=dict(
        type=AtomicCheckpointHook, interval=1, max_keep=1, save_best="classification/mean_average_precision"
    ),
)
