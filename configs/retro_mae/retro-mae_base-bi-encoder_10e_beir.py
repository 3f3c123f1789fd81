# python tools/train.py configs/retro_mae/retro-mae_base-bi-encoder_10e_beir.py
"""RetroMAE as a retriever for BEIR, zero-shot: trained on MS MARCO, tested on other sets."""

from mmengine.config import read_base

from mae3d.checkpoints import PretrainedEncoder
from mae3d.models.heads import BiEncoder

with read_base():
    from .._base_.datasets.beir_bi_encoder import *
    from .._base_.runtime import *
    from .._base_.schedules.bert_8e import *

model = dict(
    type=BiEncoder,
    init_cfg=dict(type=PretrainedEncoder, checkpoint="work_dirs/retro-mae_base_8e_wikibooks/epoch_8.pth"),
)
train_cfg.update(max_epochs=10)
optim_wrapper.update(precision="bf16")
optim_wrapper.optimizer.update(lr=1e-5, weight_decay=0.0)
