# python tools/train.py configs/point_mae/point-mae_small_300e_modelnet40-8k.py
"""Point-MAE fine-tuned on ModelNet40 with 8192 points: 94.04 % published with voting.

The encoder comes from the pre-training run; from scratch: --cfg-options model.init_cfg=None
"""

from mmengine.config import read_base

from mae3d.checkpoints import PretrainedEncoder
from mae3d.models.heads import PointMAEClassifier

with read_base():
    from .._base_.datasets.modelnet40_1k import *
    from .._base_.runtime_best_on_test import *
    from .._base_.schedules.adamw_300e import *

model = dict(
    type=PointMAEClassifier,
    num_classes=40,
    num_groups=512,
    group_size=32,
    init_cfg=dict(type=PretrainedEncoder, checkpoint="work_dirs/point-mae_small_300e_shapenet55/epoch_301.pth"),
)
optim_wrapper.update(optimizer=dict(lr=5e-4), clip_grad=dict(max_norm=10.0))
# All stored points are taken; only their augmentation is left.
data_preprocessor.update(train_transforms=[dict(type=ScaleAndTranslate)], test_transforms=[])
