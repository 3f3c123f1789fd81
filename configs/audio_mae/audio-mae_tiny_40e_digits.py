# python tools/train.py configs/audio_mae/audio-mae_tiny_40e_digits.py
"""A small Audio-MAE on spoken digits, for a CPU: 400 iterations.

Pictures of reconstructions go to the work directory; a linear probe tells the ten digits of held-out recordings apart.
"""

from mmengine.config import read_base

from mae3d.engine.hooks import AtomicCheckpointHook
from mae3d.models.methods import audio_mae_tiny

with read_base():
    from .._base_.datasets.digits_pretrain import *
    from .._base_.runtime import *
    from .._base_.schedules.mae_800e import *

model = dict(type=audio_mae_tiny)
train_cfg.update(max_epochs=40)
optim_wrapper.optimizer.update(lr=4e-3, weight_decay=1e-4)
param_scheduler[0].update(warmup=5)
default_hooks.update(checkpoint=dict(type=AtomicCheckpointHook, interval=20, max_keep=1))
