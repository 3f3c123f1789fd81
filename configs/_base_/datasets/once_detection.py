"""ONCE for detection: pasted objects and augmentation of OpenPCDet."""

from mae3d.datasets.lidar import Once, collate_packed
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
from mae3d.evaluation import OnceMetric

data_preprocessor = dict(
    type=BatchPreprocessor,
    train_transforms=[
        dict(type=FlipScene, axes=("x", "y")),
        dict(type=RotateScene),
        dict(type=ScaleScene, low=0.95, high=1.05),
        dict(type=RangeFilter, point_range=(-74.88, -74.88, -5.0, 74.88, 74.88, 3.0)),
        dict(type=BoxFilter, min_points=0),
        dict(type=ShufflePoints),
    ],
    test_transforms=[dict(type=RangeFilter, point_range=(-74.88, -74.88, -5.0, 74.88, 74.88, 3.0), boxes=False)],
)
train_dataloader = dict(
    dataset=dict(
        type=Once,
        root="data/once",
        split="train",
        transforms=[
            dict(
                type=GroundTruthSampling,
                database="data/once/mae3d_once_train_objects_1sweeps.npz",
                counts=dict(Car=1, Bus=4, Truck=3, Pedestrian=2, Cyclist=2),
                fill_up=True,
            ),
        ],
    ),
    sampler=dict(type=EpochSampler),
    collate_fn=dict(type=collate_packed),
    batch_size=8,
    num_workers=8,
    drop_last=True,
    persistent_workers=True,
    pin_memory=True,
)
val_dataloader = dict(
    dataset=dict(type=Once, root="data/once", split="val"),
    sampler=dict(type=EpochSampler, shuffle=False),
    collate_fn=dict(type=collate_packed),
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
)
val_cfg = dict(type=ValidationLoop)
val_evaluator = dict(type=OnceMetric, dataset=dict(type=Once, root="data/once", split="val"))
test_dataloader = val_dataloader
test_cfg = dict(type=EvaluationLoop)
test_evaluator = val_evaluator
