# python tools/train.py configs/p3p/p3p_small-linear_200e_scanobjectnn-obj-bg.py
"""Linear probe of P3P small on ScanObjectNN OBJ_BG: the head alone trains, on the class token's latent."""

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
    freeze=True,
    init_cfg=dict(type=PretrainedEncoder, checkpoint="work_dirs/p3p_small_120e_p3p-lift/epoch_121.pth"),
)
optim_wrapper.update(optimizer=dict(lr=1e-3), paramwise_cfg=None)
train_dataloader.dataset.update(variant="OBJ_BG")
val_dataloader.dataset.update(variant="OBJ_BG")
test_dataloader.dataset.update(variant="OBJ_BG")
