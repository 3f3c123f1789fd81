# python tools/train.py configs/compare/images_tiny.py
"""Images: MAE on photographs of clothes; a kNN probe tells ten classes apart.

An objective of tools/compare.py. The backbone is that of every file in this folder: 4 blocks of width 128 with 4 heads.
"""

from mmengine.config import read_base

from mae3d.models.methods import MAE

with read_base():
    from .._base_.datasets.clothing_pretrain import *
    from .._base_.schedules.compare import *

model = dict(
    type=MAE,
    image_size=64,
    patch_size=8,
    embed_dim=128,
    depth=4,
    num_heads=4,
    decoder_dim=64,
    decoder_depth=2,
    decoder_num_heads=4,
    pooling="mean",
)
_photographs = "data/images/clothing96.zip"
train_dataloader["dataset"].update(root=_photographs)
custom_hooks = custom_hooks[:1]
custom_hooks[0].update(interval=1000000)
custom_hooks[0]["train_dataloader"]["dataset"].update(root=_photographs)
custom_hooks[0]["test_dataloader"]["dataset"].update(root=_photographs)
