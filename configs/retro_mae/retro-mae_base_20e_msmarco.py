# python tools/train.py configs/retro_mae/retro-mae_base_20e_msmarco.py
"""RetroMAE on the passages of MS MARCO, after Wikipedia and BookCorpus: 8 GPUs, batches of 1024.

Published weights start it as well: --cfg-options model.init_cfg.checkpoint=FILE; their decoder is not released and
starts from random numbers.
"""

from mmengine.config import read_base

from mae3d.checkpoints import PretrainedEncoder
from mae3d.models.methods import retro_mae_base

with read_base():
    from .._base_.datasets.msmarco_pretrain import *
    from .._base_.runtime import *
    from .._base_.schedules.bert_8e import *

model = dict(
    type=retro_mae_base,
    init_cfg=dict(type=PretrainedEncoder, checkpoint="work_dirs/retro-mae_base_8e_wikibooks/epoch_8.pth"),
)
train_cfg.update(max_epochs=20)
optim_wrapper.update(precision="bf16")
