"""Simulated drives in nuScenes' layout for detection on a CPU: single sweeps, a narrow field, no pasted objects."""

from mmengine.config import read_base

from mae3d.engine.hooks import MetricRecordHook

with read_base():
    from .nuscenes_detection import *

data_preprocessor = dict(
    type=BatchPreprocessor,
    train_transforms=[
        dict(type=FlipScene, axes=("x",)),
        dict(type=RotateScene, low=-0.3925, high=0.3925),
        dict(type=ScaleScene, low=0.95, high=1.05),
        dict(type=RangeFilter, point_range=(-51.2, -25.6, -5.0, 51.2, 25.6, 3.0)),
        dict(type=BoxFilter, min_points=1),
    ],
    test_transforms=[dict(type=RangeFilter, point_range=(-51.2, -25.6, -5.0, 51.2, 25.6, 3.0), boxes=False)],
)
train_dataloader.dataset = dict(type=NuScenes, root="data/simulated/nuscenes", split="train", remove_close=2.0)
train_dataloader.update(batch_size=2, num_workers=0, persistent_workers=False, pin_memory=False)
val_dataloader.update(batch_size=2, num_workers=0, persistent_workers=False, pin_memory=False)
val_dataloader.dataset.update(root="data/simulated/nuscenes", sweeps=1, remove_close=2.0)
val_evaluator.dataset.update(root="data/simulated/nuscenes")
test_dataloader = val_dataloader
test_evaluator = val_evaluator
custom_hooks = [dict(type=MetricRecordHook, metric="nuscenes/NDS", split="validation")]
