"""For classifiers: the test split selects the best epoch, as published; the last epoch is reported beside it."""

from mmengine.config import read_base

from mae3d.engine.hooks import AtomicCheckpointHook, MetricRecordHook

with read_base():
    from .runtime import *

default_hooks.update(
    metrics=dict(type=MetricRecordHook, metric="classification/accuracy", split="test"),
    checkpoint=dict(type=AtomicCheckpointHook, interval=1, max_keep=1, save_best="classification/accuracy"),
)
