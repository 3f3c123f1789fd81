# python tools/train.py configs/data2vec2/data2vec2_image-huge_500k_imagenet.py
"""data2vec 2.0 on images as published (arXiv 2212.07525): ViT-H/14, 16 masks an image.

Published with 32 processes: torchrun --nproc-per-node 8 ... --launcher pytorch. Another number of images a process
also changes the weight of the class term, which is summed over them.
"""

from mmengine.config import read_base

from mae3d.models.methods import data2vec2_image_huge

with read_base():
    from .._base_.datasets.imagenet_pretrain import *
    from .._base_.schedules.data2vec2 import *

model = dict(type=data2vec2_image_huge)
train_dataloader.update(batch_size=8)
compile_targets = ["encoder", "decoder"]
optim_wrapper.optimizer.update(lr=4e-4)
train_cfg.update(max_iters=500_000)
