# python tools/train.py configs/p3p/p3p_small_200e_scanobjectnn-color-obj-only.py
"""P3P small fine-tuned on the coloured scans of ScanObjectNN, OBJ_ONLY: 93.1 % published.

As published: up to 100 000 points with colour and the learning rate of this variant. From scratch:
--cfg-options model.init_cfg=None
"""

from mmengine.config import read_base

from mae3d.checkpoints import PretrainedEncoder
from mae3d.models.heads import P3PClassifier

with read_base():
    from .._base_.datasets.p3p_scanobjectnn_scans import *
    from .._base_.runtime_best_on_test import *
    from .._base_.schedules.p3p_finetune_200e import *

model = dict(
    type=P3PClassifier,
    num_classes=15,
    init_cfg=dict(type=PretrainedEncoder, checkpoint="work_dirs/p3p_small_120e_p3p-lift/epoch_121.pth"),
)
optim_wrapper["optimizer"].update(lr=5e-4)
train_dataloader.dataset.update(variant="OBJ_ONLY")
val_dataloader.dataset.update(variant="OBJ_ONLY")
test_dataloader.dataset.update(variant="OBJ_ONLY")
