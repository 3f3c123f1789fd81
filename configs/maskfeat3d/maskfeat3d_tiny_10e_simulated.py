# python tools/train.py configs/maskfeat3d/maskfeat3d_tiny_10e_simulated.py
"""A small MaskFeat3D on simulated objects: about one and a half minutes of CPU time, no files needed.

Normals come from the simulator, surface variations are made of each point's neighbours in the batch. A linear probe on
held-out objects shows what the features learn.
"""

from mmengine.config import read_base

from mae3d.models.methods import MaskFeat3D

with read_base():
    from .._base_.datasets.simulated_probe import *
    from .._base_.runtime import *
    from .._base_.schedules.adamw_300e import *

model = dict(
    type=MaskFeat3D,
    num_groups=32,
    group_size=16,
    embed_dim=96,
    depth=4,
    num_heads=3,
    decoder_depth=2,
    decoder_num_heads=3,
    drop_path=0.0,
)
train_dataloader["dataset"].update(use_normals=True)
train_cfg.update(max_epochs=10, extra_epoch=False)
param_scheduler[0].update(warmup=2, delayed=False)
