# python tools/train.py configs/compare/images-data2vec2_tiny.py
"""Images: data2vec 2.0, features of an averaged teacher as target, on the same photographs and probe as images_tiny.py.

An objective of tools/compare.py. The backbone has the size of every file in this folder, 4 blocks of width 128 with 4
heads, but its norms sit behind the branches: blocks cannot be exchanged with the others. The loss does not tell how
well it goes: a teacher whose features shrink is easy to predict.
"""

from mmengine.config import read_base

from mae3d.models.methods import data2vec2_image_tiny

with read_base():
    from .images_tiny import *

model = dict(type=data2vec2_image_tiny, embed_dim=128, depth=4, num_heads=4)
train_dataloader.update(batch_size=32)
