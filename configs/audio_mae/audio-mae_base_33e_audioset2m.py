# python tools/train.py configs/audio_mae/audio-mae_base_33e_audioset2m.py
"""Audio-MAE pre-training as published (arXiv 2207.06405): ViT-B, window decoder, 137.0 M, 64 processes of 8 clips.

MAE's decoder of eight global blocks: --cfg-options model.decoder=global; structured masks:
--cfg-options model.masking=time_frequency
"""

from mmengine.config import read_base

from mae3d.engine.hooks import AtomicCheckpointHook, ReconstructionHook
from mae3d.models.methods import audio_mae_base

with read_base():
    from .._base_.datasets.audioset_pretrain import *
    from .._base_.runtime import *
    from .._base_.schedules.mae_800e import *

model = dict(type=audio_mae_base)
compile_targets = ["encoder", "decoder"]
train_cfg.update(max_epochs=33)
optim_wrapper.optimizer.update(lr=2e-4, weight_decay=1e-4)
param_scheduler[0].update(warmup=3)
default_hooks.update(checkpoint=dict(type=AtomicCheckpointHook, interval=4, max_keep=2))
custom_hooks = [dict(type=ReconstructionHook, interval=4)]
