# python tools/train.py configs/p3p/p3p_base_200e_scanobjectnn-pb-t50-rs.py
"""P3P base fine-tuned on ScanObjectNN PB_T50_RS: 91.3 % published, batches of 8 and four of them to a step.

Published with the coloured scans of up to 100 000 points; these files hold 2048 points without colour, which pass as
grey. From scratch: --cfg-options model.init_cfg=None
"""

from mmengine.config import read_base

from mae3d.checkpoints import PretrainedEncoder
from mae3d.models.heads import P3PClassifier

with read_base():
    from .._base_.datasets.p3p_scanobjectnn import *
    from .._base_.runtime_best_on_test import *
    from .._base_.schedules.p3p_finetune_200e import *

model = dict(
    type=P3PClassifier,
    num_classes=15,
    embed_dim=768,
    num_heads=12,
    init_cfg=dict(type=PretrainedEncoder, checkpoint="work_dirs/p3p_base_120e_p3p-lift/epoch_121.pth"),
)
optim_wrapper.update(optimizer=dict(lr=5e-4), accumulative_counts=4)
train_dataloader.update(batch_size=8)
train_dataloader.dataset.update(variant="PB_T50_RS")
val_dataloader.dataset.update(variant="PB_T50_RS")
test_dataloader.dataset.update(variant="PB_T50_RS")
