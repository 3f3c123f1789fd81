# python tools/train.py configs/point_cmae/point-cmae_small_300e_shapenet55.py
"""Point-CMAE pre-training as published (arXiv 2407.05862): ViT-S on ShapeNet55, 36.2 M parameters.

The files are expected under data/ShapeNet55-34; another place:
    --cfg-options train_dataloader.dataset.root=PATH
"""

from mmengine.config import read_base

from mae3d.engine.hooks import AtomicCheckpointHook, ReconstructionHook
from mae3d.models.methods import PointCMAE

with read_base():
    from .._base_.datasets.shapenet55 import *
    from .._base_.runtime import *
    from .._base_.schedules.adamw_300e import *

model = dict(
    type=PointCMAE,
    num_groups=64,
    group_size=32,
    mask_ratio=0.6,
    masking="random",
    embed_dim=384,
    depth=12,
    num_heads=6,
    decoder_depth=4,
    decoder_num_heads=6,
    drop_path=0.1,
    loss="cdl2",
    reconstruction_weight=1000.0,
    contrast_weight=1.0,
    pairs="all",
    skip_near_origin=1e-3,
)

default_hooks.update(
    # The newest, and as published every 25th epoch from 250 on.
    checkpoint=dict(type=AtomicCheckpointHook, interval=1, max_keep=1, keep_every=25, keep_from=250),
)
custom_hooks = [dict(type=ReconstructionHook, interval=25)]
