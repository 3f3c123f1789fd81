# python tools/train.py configs/dup_mae/dup-mae_base-lexical_4e_msmarco.py
"""DupMAE as a retriever on MS MARCO by its reduced [CLS] vector and the highest-scored words of a passage.

The sizes are the paper's; no code was released for this representation.
"""

from mmengine.config import read_base

from mae3d.checkpoints import PretrainedEncoder
from mae3d.models.heads import LexicalBiEncoder

with read_base():
    from .._base_.datasets.msmarco_bi_encoder import *
    from .._base_.runtime import *
    from .._base_.schedules.bert_8e import *

model = dict(
    type=LexicalBiEncoder,
    reduced_dim=384,
    keep=384,
    init_cfg=dict(type=PretrainedEncoder, checkpoint="work_dirs/dup-mae_base_20e_msmarco/epoch_20.pth"),
)
train_cfg.update(max_epochs=4)
optim_wrapper.update(precision="bf16")
optim_wrapper.optimizer.update(lr=2e-5, weight_decay=0.0)
