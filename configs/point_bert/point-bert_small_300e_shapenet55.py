# python tools/train.py configs/point_bert/point-bert_small_300e_shapenet55.py
"""Point-BERT pre-training as published (arXiv 2111.14819): ViT-S on ShapeNet55, training and test lists.

The tokenizer comes from point-bert_dvae_300e_shapenet55.py, or from an official file. Of the contrastive terms that of
mixed clouds, as in the released config; the paper's both: --cfg-options
model.losses=codes,contrast,mixed_contrast. Published runs used several GPUs: --cfg-options sync_bn=torch
"""

from mmengine.config import read_base

from mae3d.checkpoints import PretrainedEncoder
from mae3d.engine.hooks import AtomicCheckpointHook, ReconstructionHook
from mae3d.models.methods import PointBERT, PointDVAE

with read_base():
    from .._base_.datasets.shapenet55 import *
    from .._base_.runtime import *
    from .._base_.schedules.adamw_300e import *

model = dict(
    type=PointBERT,
    dvae=dict(
        type=PointDVAE,
        init_cfg=dict(type=PretrainedEncoder, checkpoint="work_dirs/point-bert_dvae_300e_shapenet55/epoch_301.pth"),
    ),
    num_groups=64,
    group_size=32,
    mask_ratio=(0.25, 0.45),
    masking="block",
    embed_dim=384,
    depth=12,
    num_heads=6,
    drop_path=0.1,
    losses=("codes", "mixed_contrast"),
    queue_length=16384,
    contrast_temperature=0.07,
    momentum=0.999,
    frozen_statistics=True,
    skip_near_origin=1e-3,
)
train_dataloader.dataset.update(whole=True)
optim_wrapper.optimizer.update(lr=5e-4)
param_scheduler[0].update(warmup=3)
default_hooks.update(
    # The newest, and every 25th epoch from 250 on; the official program keeps the one best for the linear SVM.
    checkpoint=dict(type=AtomicCheckpointHook, interval=1, max_keep=1, keep_every=25, keep_from=250),
)
custom_hooks = [dict(type=ReconstructionHook, interval=25)]
