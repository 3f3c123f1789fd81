# python tools/train.py configs/point_bert/point-bert_small_300e_scanobjectnn-pb-t50-rs.py
"""Point-BERT fine-tuned on ScanObjectNN PB_T50_RS with 1024 points: 83.07 % published.

The published head has 40 scores, of which 15 have a class: --cfg-options model.num_classes=40

The encoder comes from the pre-training run; from scratch: --cfg-options model.init_cfg=None
"""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.scanobjectnn import *
    from .._base_.models.point_bert_classifier import *
    from .._base_.runtime_best_on_test import *
    from .._base_.schedules.adamw_300e import *

optim_wrapper.update(optimizer=dict(lr=5e-4), clip_grad=dict(max_norm=10.0))
model.update(num_classes=15)
data_preprocessor.train_transforms[0].update(npoints=1024)
data_preprocessor.test_transforms[0].update(npoints=1024)
train_dataloader.dataset.update(variant="PB_T50_RS")
val_dataloader.dataset.update(variant="PB_T50_RS")
test_dataloader.dataset.update(variant="PB_T50_RS")
