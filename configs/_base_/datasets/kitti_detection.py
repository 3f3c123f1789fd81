"""KITTI for detection: points inside the front image, pasted objects, augmentation of OpenPCDet."""

from mae3d.datasets.lidar import Kitti, collate_packed
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
from mae3d.evaluation import KittiMetric

data_preprocessor = dict(
    type=BatchPreprocessor,
    train_transforms=[
        dict(type=FlipScene, axes=("y",)),
        dict(type=RotateScene),
        dict(type=ScaleScene, low=0.95, high=1.05),
        dict(type=RangeFilter, point_range=(0.0, -40.0, -3.0, 70.4, 40.0, 1.0)),
        dict(type=BoxFilter, min_points=1),
        dict(type=ShufflePoints),
    ],
    test_transforms=[dict(type=RangeFilter, point_range=(0.0, -40.0, -3.0, 70.4, 40.0, 1.0), boxes=False)],
)
train_dataloader = dict(
    dataset=dict(
        type=Kitti,
        root="data/kitti",
        split="train",
        transforms=[
            dict(
                type=GroundTruthSampling,
                database="data/kitti/mae3d_kitti_train_objects_1sweeps.npz",
                counts=dict(Car=20, Pedestrian=15, Cyclist=15),
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
    dataset=dict(type=Kitti, root="data/kitti", split="val"),
    sampler=dict(type=EpochSampler, shuffle=False),
    collate_fn=dict(type=collate_packed),
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
)
val_cfg = dict(type=ValidationLoop)
val_evaluator = dict(type=KittiMetric, dataset=dict(type=Kitti, root="data/kitti", split="val"))
test_dataloader = val_dataloader
test_cfg = dict(type=EvaluationLoop)
test_evaluator = val_evaluator
