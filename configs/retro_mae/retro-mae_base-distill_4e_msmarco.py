# python tools/train.py configs/retro_mae/retro-mae_base-distill_4e_msmarco.py
"""RetroMAE as a retriever on MS MARCO, distilled from a cross-encoder: its scores are in pos_scores and neg_scores."""

from mmengine.config import read_base

from mae3d.checkpoints import PretrainedEncoder
from mae3d.models.heads import BiEncoder

with read_base():
    from .._base_.datasets.msmarco_bi_encoder import *
    from .._base_.runtime import *
    from .._base_.schedules.bert_8e import *

model = dict(
    type=BiEncoder,
    distill=True,
    contrastive_weight=1.0,
    init_cfg=dict(type=PretrainedEncoder, checkpoint="work_dirs/retro-mae_base_20e_msmarco/epoch_20.pth"),
)
train_cfg.update(max_epochs=4)
train_dataloader.dataset.update(teacher_fields=("pos_scores", "neg_scores"))
optim_wrapper.update(precision="bf16")
optim_wrapper.optimizer.update(lr=2e-5, weight_decay=0.0)
