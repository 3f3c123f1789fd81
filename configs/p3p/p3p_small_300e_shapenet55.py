# python tools/train.py configs/p3p/p3p_small_300e_shapenet55.py
"""P3P small pre-trained on ShapeNet55, 1024 points without colour: 85.8 % on PB_T50_RS published after fine-tuning.

As published, on both lists and without augmentation. The published clouds keep y up here, though those of fine-tuning
have z up; ours have z up in both.
"""

from mmengine.config import read_base

from mae3d.datasets.objects import ShapeNet55, collate_clouds
from mae3d.engine.sampling import EpochSampler
from mae3d.models.methods import p3p_small

with read_base():
    from .._base_.datasets.p3p_objects import *
    from .._base_.runtime import *
    from .._base_.schedules.adamw_300e import *

model = dict(type=p3p_small, color=False)
data_preprocessor["train_transforms"] = data_preprocessor["test_transforms"]
optim_wrapper.update(optimizer=dict(lr=5e-4))
param_scheduler[0].update(warmup=3)
train_dataloader = dict(
    dataset=dict(type=ShapeNet55, root="data/ShapeNet55-34", split="train", whole=True, npoints=1024),
    sampler=dict(type=EpochSampler),
    collate_fn=dict(type=collate_clouds),
    batch_size=128,
    num_workers=8,
    drop_last=True,
    persistent_workers=True,
    pin_memory=True,
)
