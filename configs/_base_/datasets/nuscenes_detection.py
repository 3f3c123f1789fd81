"""nuScenes for detection: ten sweeps with their age, class-balanced frames, pasted objects, one batch augmentation."""

from mae3d.datasets.lidar import ClassBalanced, NuScenes, collate_packed
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
from mae3d.evaluation import NuScenesMetric

data_preprocessor = dict(
    type=BatchPreprocessor,
    train_transforms=[
        dict(type=FlipScene, axes=("x", "y")),
        dict(type=RotateScene, low=-0.3925, high=0.3925),
        dict(type=ScaleScene, low=0.95, high=1.05),
        dict(type=RangeFilter, point_range=(-51.2, -51.2, -5.0, 51.2, 51.2, 3.0)),
        dict(type=BoxFilter, min_points=1),
        dict(type=ShufflePoints),
    ],
    test_transforms=[dict(type=RangeFilter, point_range=(-51.2, -51.2, -5.0, 51.2, 51.2, 3.0), boxes=False)],
)
train_dataloader = dict(
    dataset=dict(
        type=ClassBalanced,
        dataset=dict(
            type=NuScenes,
            root="data/nuscenes",
            split="train",
            sweeps=10,
            remove_close=1.0,
            close_in="sweeps",
            transforms=[
                dict(
                    type=GroundTruthSampling,
                    database="data/nuscenes/mae3d_nuscenes_train_objects_10sweeps.npz",
                    counts=dict(
                        car=2,
                        truck=3,
                        construction_vehicle=7,
                        bus=4,
                        trailer=6,
                        barrier=2,
                        motorcycle=6,
                        bicycle=6,
                        pedestrian=2,
                        traffic_cone=2,
                    ),
                    fill_up=True,
                ),
            ],
        ),
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
    dataset=dict(type=NuScenes, root="data/nuscenes", split="val", sweeps=10, remove_close=1.0, close_in="sweeps"),
    sampler=dict(type=EpochSampler, shuffle=False),
    collate_fn=dict(type=collate_packed),
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
)
val_cfg = dict(type=ValidationLoop)
val_evaluator = dict(type=NuScenesMetric, dataset=dict(type=NuScenes, root="data/nuscenes", split="val"))
test_dataloader = val_dataloader
test_cfg = dict(type=EvaluationLoop)
test_evaluator = val_evaluator
