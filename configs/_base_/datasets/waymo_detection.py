"""Waymo for detection: every fifth frame ("20 %"), pasted objects and augmentation of OpenPCDet."""

from mae3d.datasets.lidar import Waymo, collate_packed
from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.datasets.transforms.lidar import (
    BoxFilter,
    FlipScene,
    GroundTruthSampling,
    RangeFilter,
    RotateScene,
    ScaleScene,
    ShufflePoints,
)
from mae3d.engine.loops import EvaluationLoop, ValidationLoop
from mae3d.engine.sampling import EpochSampler
from mae3d.evaluation import WaymoMetric

data_preprocessor = dict(
    type=BatchPreprocessor,
    train_transforms=[
        dict(type=FlipScene, axes=("x", "y")),
        dict(type=RotateScene),
        dict(type=ScaleScene, low=0.95, high=1.05),
        dict(type=RangeFilter, point_range=(-75.2, -75.2, -2.0, 75.2, 75.2, 4.0)),
        dict(type=BoxFilter, min_points=1),
        dict(type=ShufflePoints),
    ],
    test_transforms=[dict(type=RangeFilter, point_range=(-75.2, -75.2, -2.0, 75.2, 75.2, 4.0), boxes=False)],
)
train_dataloader = dict(
    dataset=dict(
        type=Waymo,
        root="data/waymo",
        split="train",
        interval=5,
        transforms=[
            dict(
                type=GroundTruthSampling,
                database="data/waymo/mae3d_waymo_train_objects_1sweeps.npz",
                counts=dict(Vehicle=15, Pedestrian=10, Cyclist=10),
                fill_up=True,
            ),
        ],
    ),
    sampler=dict(type=EpochSampler),
    collate_fn=dict(type=collate_packed),
    batch_size=4,
    num_workers=8,
    drop_last=True,
    persistent_workers=True,
    pin_memory=True,
)
val_dataloader = dict(
    dataset=dict(type=Waymo, root="data/waymo", split="val"),
    sampler=dict(type=EpochSampler, shuffle=False),
    collate_fn=dict(type=collate_packed),
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
)
val_cfg = dict(type=ValidationLoop)
val_evaluator = dict(type=WaymoMetric, dataset=dict(type=Waymo, root="data/waymo", split="val"))
test_dataloader = val_dataloader
test_cfg = dict(type=EvaluationLoop)
test_evaluator = val_evaluator
