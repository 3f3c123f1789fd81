# python tools/train.py configs/data2vec2/data2vec2_audio-base_400k_librispeech.py
"""data2vec 2.0 on sounds as published (arXiv 2212.07525): 12 blocks, 8 masks a sound.

Published with 8 processes of a million samples each. Blocks are skipped at random, so several processes look for
parameters without gradients.
"""

from mmengine.config import read_base

from mae3d.models.methods import data2vec2_audio_base

with read_base():
    from .._base_.datasets.librispeech import *
    from .._base_.schedules.data2vec2 import *

model = dict(type=data2vec2_audio_base)
train_cfg.update(max_iters=400_000)
optim_wrapper.optimizer.update(lr=7.5e-4, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.01)
optim_wrapper.update(clip_grad=None)
param_scheduler[0].update(warmup=8000)
find_unused_parameters = True
