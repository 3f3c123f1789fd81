# python tools/train.py configs/point_bert/point-bert_dvae-tiny_30e_simulated.py
"""A small dVAE of point patches on simulated objects: about two minutes of CPU time, no files needed.

It shows that the stage runs; its codes do not tell patches apart yet. Pictures of clouds decoded from their codes go to
the work directory. point-bert_tiny_10e_simulated.py goes on from it.
"""

from mmengine.config import read_base

from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.engine.hooks import ReconstructionHook
from mae3d.models.methods import point_dvae_tiny

with read_base():
    from .._base_.datasets.simulated import *
    from .._base_.runtime import *
    from .._base_.schedules.adamw_300e import *

model = dict(type=point_dvae_tiny, num_groups=16, temperature_steps=250, divergence_start=30, divergence_steps=250)
data_preprocessor = dict(type=BatchPreprocessor)  # no augmentation
train_cfg.update(max_epochs=30, extra_epoch=False)
optim_wrapper.optimizer.update(lr=2e-3, weight_decay=5e-4)
param_scheduler[0].update(warmup=2, delayed=False)
custom_hooks = [
    dict(
        type=ReconstructionHook,
        interval=10,
        dataloader=dict(
            dataset=dict(type=SimulatedObjects, count=60, split="test", npoints=512, stored_points=1024),
            sampler=dict(type=EpochSampler, shuffle=False),
            batch_size=6,
            num_workers=0,
        ),
    ),
]
