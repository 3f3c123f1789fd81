# python tools/train.py configs/point_mae/point-mae_tiny_60e_labelled-clouds.py
"""A small Point-MAE on labelled clouds in one .npz file (points [M, N, 3], label [M], classes [K], name [M]).

Pre-training uses the training clouds without their labels; a linear SVM on frozen features is fitted to them and
judged on the held-out ones, before training and every 20 epochs. Put the file at data/clouds.npz, or name it with
--cfg-options for train_dataloader.dataset.path and the two dataset.path of custom_hooks.0.
"""

from mmengine.config import read_base

from mae3d.datasets.objects import LabelledClouds
from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.datasets.transforms import ScaleAndTranslate
from mae3d.engine.hooks import AtomicCheckpointHook, ProbeHook, ReconstructionHook
from mae3d.engine.sampling import EpochSampler
from mae3d.models.methods import PointMAE

with read_base():
    from .._base_.runtime import *
    from .._base_.schedules.adamw_300e import *

data_preprocessor = dict(type=BatchPreprocessor, train_transforms=[dict(type=ScaleAndTranslate)])
train_dataloader = dict(
    dataset=dict(type=LabelledClouds, path="data/clouds.npz", split="train", npoints=512),
    sampler=dict(type=EpochSampler),
    batch_size=32,
    num_workers=0,
    drop_last=True,
)
model = dict(
    type=PointMAE,
    num_groups=16,
    group_size=32,
    embed_dim=96,
    depth=4,
    num_heads=3,
    decoder_depth=2,
    decoder_num_heads=3,
    drop_path=0.0,
)
train_cfg.update(max_epochs=60, extra_epoch=False)
optim_wrapper.optimizer.update(lr=2e-3)
param_scheduler[0].update(warmup=6, start=4e-4, delayed=False)
default_hooks.update(checkpoint=dict(type=AtomicCheckpointHook, interval=20, max_keep=1))
custom_hooks = [
    dict(
        type=ProbeHook,
        interval=20,
        kind="svm",
        train_dataloader=dict(
            dataset=dict(type=LabelledClouds, path="data/clouds.npz", split="train", npoints=512),
            sampler=dict(type=EpochSampler, shuffle=False),
            batch_size=64,
            num_workers=0,
        ),
        test_dataloader=dict(
            dataset=dict(type=LabelledClouds, path="data/clouds.npz", split="test", npoints=512),
            sampler=dict(type=EpochSampler, shuffle=False),
            batch_size=64,
            num_workers=0,
        ),
    ),
    dict(type=ReconstructionHook, interval=60),
]
