# python tools/train.py configs/data2vec2/data2vec2_text-large_600k_books-wiki.py
"""data2vec 2.0 on text as published (arXiv 2212.07525): 24 blocks, 8 masks a text.

Published with 32 processes of 2 blocks.
"""

from mmengine.config import read_base

from mae3d.models.methods import data2vec2_text_large

with read_base():
    from .._base_.datasets.books_wiki import *
    from .._base_.schedules.data2vec2 import *

model = dict(type=data2vec2_text_large)
compile_targets = ["encoder", "decoder"]
train_cfg.update(max_iters=600_000)
train_dataloader.update(batch_size=2)
optim_wrapper.optimizer.update(lr=1e-4, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.01)
optim_wrapper.update(clip_grad=dict(max_norm=1.0))
param_scheduler[0].update(warmup=4000)
