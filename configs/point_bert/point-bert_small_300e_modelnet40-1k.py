# python tools/train.py configs/point_bert/point-bert_small_300e_modelnet40-1k.py
"""Point-BERT fine-tuned on ModelNet40 with 1024 points: 92.67 % published, 93.24 % with voting.

The encoder comes from the pre-training run; from scratch: --cfg-options model.init_cfg=None
"""

from mmengine.config import read_base

with read_base():
    from .._base_.datasets.modelnet40_1k import *
    from .._base_.models.point_bert_classifier import *
    from .._base_.runtime_best_on_test import *
    from .._base_.schedules.adamw_300e import *

optim_wrapper.update(optimizer=dict(lr=5e-4), clip_grad=dict(max_norm=10.0))
