"""P3P-Lift: 1.28 M ImageNet images and their depth files as coloured clouds of up to 100 000 points."""

from mmengine.config import read_base

from mae3d.datasets.objects import LiftedImages, collate_clouds
from mae3d.engine.sampling import EpochSampler

with read_base():
    from .p3p_clouds import *

train_dataloader = dict(
    dataset=dict(type=LiftedImages, images="data/ImageNet/train", depth=None, npoints=100_000, on_error="skip"),
    sampler=dict(type=EpochSampler),
    collate_fn=dict(type=collate_clouds),
    batch_size=64,
    num_workers=8,
    drop_last=True,
    persistent_workers=True,
    pin_memory=True,
)
