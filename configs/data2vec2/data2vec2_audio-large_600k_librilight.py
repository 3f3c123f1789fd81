# python tools/train.py configs/data2vec2/data2vec2_audio-large_600k_librilight.py
"""data2vec 2.0 on sounds as published (arXiv 2212.07525): 24 blocks, 12 masks a sound.

Published on Libri-light, with 48 processes of 320,000 samples each.
"""

from mmengine.config import read_base

from mae3d.models.methods import data2vec2_audio_large

with read_base():
    from .._base_.datasets.librispeech import *
    from .._base_.schedules.data2vec2 import *

model = dict(type=data2vec2_audio_large)
compile_targets = ["encoder", "decoder"]
train_cfg.update(max_iters=600_000)
train_dataloader.dataset.update(root="data/libri-light", select="")
train_dataloader.update(batch_size=2)
optim_wrapper.optimizer.update(lr=4e-4, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.01)
optim_wrapper.update(clip_grad=dict(max_norm=1.0))
param_scheduler[0].update(warmup=10_000)
