# python tools/train.py configs/point_mae/point-mae_small-validated_300e_modelnet40-1k.py
"""Point-MAE fine-tuned on ModelNet40 without a look at the test split: a tenth of the training clouds validates.

The best epoch is chosen on those clouds. The honest figure is that checkpoint's on the test split:
    python tools/test.py configs/point_mae/point-mae_small-validated_300e_modelnet40-1k.py RUN/best_CHECKPOINT.pth
ShapeNetPart has a validation split of its own: in its config, --cfg-options train_dataloader.dataset.split=train
val_dataloader.dataset.split=val default_hooks.metrics.split=validation
"""

from mmengine.config import read_base

from mae3d.checkpoints import PretrainedEncoder
from mae3d.datasets import HeldOut
from mae3d.engine.hooks import AtomicCheckpointHook, MetricRecordHook
from mae3d.models.heads import PointMAEClassifier

with read_base():
    from .._base_.datasets.modelnet40_1k import *
    from .._base_.runtime import *
    from .._base_.schedules.adamw_300e import *

model = dict(
    type=PointMAEClassifier,
    num_classes=40,
    num_groups=64,
    group_size=32,
    init_cfg=dict(type=PretrainedEncoder, checkpoint="work_dirs/point-mae_small_300e_shapenet55/epoch_301.pth"),
)
optim_wrapper.update(optimizer=dict(lr=5e-4), clip_grad=dict(max_norm=10.0))
train_dataloader["dataset"] = dict(
    type=HeldOut,
    part="train",
    dataset=dict(type=ModelNet40, root="data/ModelNet/modelnet40_normal_resampled", split="train"),
)
val_dataloader["dataset"] = dict(
    type=HeldOut,
    part="validation",
    dataset=dict(type=ModelNet40, root="data/ModelNet/modelnet40_normal_resampled", split="train", sampling="first"),
)

default_hooks.update(
    metrics=dict(type=MetricRecordHook, metric="classification/accuracy", split="validation"),
    checkpoint=dict(type=AtomicCheckpointHook, interval=1, max_keep=1, save_best="classification/accuracy"),
)
