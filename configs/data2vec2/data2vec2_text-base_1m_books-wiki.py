# python tools/train.py configs/data2vec2/data2vec2_text-base_1m_books-wiki.py
"""data2vec 2.0 on text as published (arXiv 2212.07525): 12 blocks, 8 masks a text.

Published with 16 processes of 4 blocks.
"""

from mmengine.config import read_base

from mae3d.models.methods import data2vec2_text_base

with read_base():
    from .._base_.datasets.books_wiki import *
    from .._base_.schedules.data2vec2 import *

model = dict(type=data2vec2_text_base)
compile_targets = ["encoder", "decoder"]
train_cfg.update(max_iters=1_000_000)
optim_wrapper.optimizer.update(lr=2e-4, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.01)
optim_wrapper.update(clip_grad=dict(max_norm=1.0))
param_scheduler[0].update(warmup=4000)
