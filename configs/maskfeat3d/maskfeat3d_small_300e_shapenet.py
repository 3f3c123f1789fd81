# python tools/train.py configs/maskfeat3d/maskfeat3d_small_300e_shapenet.py
"""MaskFeat3D pre-training as published (arXiv 2304.06911): ViT-S on ShapeNet with normals, 31.3 M parameters.

The files are expected under data/ShapeNetFeat; another place:
    --cfg-options train_dataloader.dataset.root=PATH
"""

from mmengine.config import read_base

from mae3d.models.methods import MaskFeat3D

with read_base():
    from .._base_.datasets.shapenet_feat import *
    from .._base_.runtime import *
    from .._base_.schedules.adamw_300e import *

model = dict(
    type=MaskFeat3D,
    num_groups=128,
    group_size=32,
    mask_ratio=0.6,
    masking="random",
    embed_dim=384,
    depth=12,
    num_heads=6,
    decoder_depth=4,
    decoder_num_heads=6,
    drop_path=0.1,
    drop_path_over="samples",
    normal_loss="cos",
    query_points=1.0,
    skip_near_origin=1e-3,
)
