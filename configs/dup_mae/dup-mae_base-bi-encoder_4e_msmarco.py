# python tools/train.py configs/dup_mae/dup-mae_base-bi-encoder_4e_msmarco.py
"""DupMAE as a retriever on MS MARCO by [CLS] alone, the protocol of RetroMAE."""

from mmengine.config import read_base

from mae3d.checkpoints import PretrainedEncoder
from mae3d.models.heads import BiEncoder

with read_base():
    from .._base_.datasets.msmarco_bi_encoder import *
    from .._base_.runtime import *
    from .._base_.schedules.bert_8e import *

model = dict(
    type=BiEncoder,
    init_cfg=dict(type=PretrainedEncoder, checkpoint="work_dirs/dup-mae_base_20e_msmarco/epoch_20.pth"),
)
train_cfg.update(max_epochs=4)
optim_wrapper.update(precision="bf16")
optim_wrapper.optimizer.update(lr=2e-5, weight_decay=0.0)
