# python tools/train.py configs/p3p/p3p_small_200e_scanobjectnn-obj-only.py
"""P3P small fine-tuned on ScanObjectNN OBJ_ONLY: 93.1 % published.

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
    init_cfg=dict(type=PretrainedEncoder, checkpoint="work_dirs/p3p_small_120e_p3p-lift/epoch_121.pth"),
)
train_dataloader.dataset.update(variant="OBJ_ONLY")
val_dataloader.dataset.update(variant="OBJ_ONLY")
test_dataloader.dataset.update(variant="OBJ_ONLY")
