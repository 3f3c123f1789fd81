"""What all fine-tunings of Point-BERT on classification share: network, optimizer, hooks."""

from mmengine.config import read_base

from mae3d.checkpoints import PretrainedEncoder
from mae3d.engine.hooks import AtomicCheckpointHook, MetricRecordHook
from mae3d.models.heads import PointBERTClassifier

with read_base():
    from .runtime import *
    from .schedules.adamw_300e import *

model = dict(
    type=PointBERTClassifier,
    num_classes=40,
    num_groups=64,
    group_size=32,
    head="mlp2",
    init_cfg=dict(type=PretrainedEncoder, checkpoint="work_dirs/point-bert_small_300e_shapenet55/epoch_301.pth"),
)
optim_wrapper.update(optimizer=dict(lr=5e-4), clip_grad=dict(max_norm=10.0))
default_hooks.update(
    # As published, the test split selects the best epoch; the last epoch is reported beside it.
    metrics=dict(type=MetricRecordHook, metric="classification/accuracy", split="test"),
    checkpoint=dict(type=AtomicCheckpointHook, interval=1, max_keep=1, save_best="classification/accuracy"),
)
