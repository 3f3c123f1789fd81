# python tools/train.py configs/dup_mae/dup-mae_base_8e_wikibooks.py
"""DupMAE on Wikipedia and BookCorpus from BERT-base, with the published hyper-parameters: 8 GPUs, batches of 256."""

from mmengine.config import read_base

from mae3d.checkpoints import PretrainedEncoder
from mae3d.models.methods import dup_mae_base

with read_base():
    from .._base_.datasets.wikibooks_pretrain import *
    from .._base_.runtime import *
    from .._base_.schedules.bert_8e import *

model = dict(
    type=dup_mae_base,
    init_cfg=dict(type=PretrainedEncoder, checkpoint="data/bert-base-uncased/model.safetensors", system="dup-mae"),
)
optim_wrapper.update(precision="bf16")
