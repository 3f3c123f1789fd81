# python tools/train.py configs/compare/points-maskfeat3d_tiny.py
"""Points: MaskFeat3D's normals and surface variation; a linear probe tells the classes of labelled clouds apart.

As points_tiny.py, with another target and decoder. The clouds have no normals: those of their neighbourhoods are taken,
whose side is arbitrary.
"""

from mmengine.config import read_base

from mae3d.models.methods import MaskFeat3D

with read_base():
    from .points_tiny import *

model = dict(
    type=MaskFeat3D,
    num_groups=32,
    group_size=16,
    embed_dim=128,
    encoder=dict(type=ViT, embed_dim=128, depth=4, num_heads=4),
    decoder_depth=2,
    decoder_num_heads=4,
    drop_path=0.0,
    normal_loss="abs_cos",
    pooling="max_mean",
)
