# python tools/train.py configs/retro_mae/retro-mae_tiny-bi-encoder_10e_sts.py
"""The small RetroMAE's encoder fine-tuned on similar sentences; from scratch: --cfg-options model.init_cfg=None"""

from mmengine.config import read_base

from mae3d.checkpoints import PretrainedEncoder
from mae3d.engine.hooks import AtomicCheckpointHook
from mae3d.models.heads import bi_encoder_tiny

with read_base():
    from .._base_.datasets.sts_pairs import *
    from .._base_.runtime import *
    from .._base_.schedules.bert_8e import *

model = dict(
    type=bi_encoder_tiny,
    similarity="cosine",
    temperature=0.05,
    init_cfg=dict(type=PretrainedEncoder, checkpoint="work_dirs/retro-mae_tiny_5e_sts/epoch_5.pth"),
)
train_cfg.update(max_epochs=10, val_interval=5)
optim_wrapper.optimizer.update(lr=5e-4)
default_hooks.update(checkpoint=dict(type=AtomicCheckpointHook, interval=10, max_keep=1))
