# python tools/train.py configs/point_bert/point-bert_tiny_10e_simulated.py
"""A small Point-BERT on simulated objects: about two minutes of CPU time, no files needed.

The tokenizer comes from point-bert_dvae-tiny_30e_simulated.py, which runs first. A linear probe on held-out objects
shows what the features learn; pictures show hidden patches as the tokenizer decodes their predicted codes.
"""

from mmengine.config import read_base

from mae3d.checkpoints import PretrainedEncoder
from mae3d.engine.hooks import ReconstructionHook
from mae3d.models.methods import point_bert_tiny, point_dvae_tiny

with read_base():
    from .._base_.datasets.simulated_probe import *
    from .._base_.runtime import *
    from .._base_.schedules.adamw_300e import *

model = dict(
    type=point_bert_tiny,
    dvae=dict(
        type=point_dvae_tiny,
        num_groups=16,
        init_cfg=dict(type=PretrainedEncoder, checkpoint="work_dirs/point-bert_dvae-tiny_30e_simulated/epoch_30.pth"),
    ),
    num_groups=16,
    momentum=0.99,
)
train_cfg.update(max_epochs=10, extra_epoch=False)
param_scheduler[0].update(warmup=2, delayed=False)
custom_hooks.append(
    dict(
        type=ReconstructionHook,
        interval=5,
        dataloader=dict(
            dataset=dict(type=SimulatedObjects, count=60, split="test", npoints=512, stored_points=1024),
            sampler=dict(type=EpochSampler, shuffle=False),
            batch_size=6,
            num_workers=0,
        ),
    )
)
