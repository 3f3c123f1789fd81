# python tools/train.py configs/detection/gd-mae_two-stage_tiny_20e_simulated-drives.py
"""The small detector of gd-mae_tiny_20e_simulated-drives.py with a small second stage, both trained together.

The drives are made once with
    python tools/prepare_data.py simulated-drives --root data/simulated --scenes 25 6 --frames 8 --sweeps 6
On a first stage that is trained already: --cfg-options model.freeze_first=True
    model.init_cfg.type=mae3d.checkpoints.PretrainedEncoder model.init_cfg.checkpoint=FILE
"""

from mmengine.config import read_base

from mae3d.engine.hooks import MetricRecordHook
from mae3d.models.heads.detection import gd_mae_two_stage

with read_base():
    from .._base_.datasets.nuscenes_detection import *
    from .._base_.runtime import *
    from .._base_.schedules.adam_onecycle_30e import *

model = dict(
    type=gd_mae_two_stage,
    classes=(
        "car",
        "truck",
        "bus",
        "trailer",
        "construction_vehicle",
        "pedestrian",
        "motorcycle",
        "bicycle",
        "traffic_cone",
        "barrier",
    ),
    point_range=(-51.2, -25.6, -5.0, 51.2, 25.6, 3.0),
    pillar=0.8,
    in_channels=4,
    normalized=True,
    vfe_channels=(32,),
    vfe_norm=(1e-3, 0.1),
    widths=(32, 64, 64),
    depth=1,
    embed_dim=32,
    encoder=dict(num_heads=4),
    head=dict(
        velocity=True,
        shared_channels=32,
        loc_weight=1.0,
        score_threshold=0.03,
        suppression=dict(kind="class", threshold=0.2, before=1000, after=60),
    ),
    refiner=dict(
        sampler=dict(num_points=48, cell=0.3),
        edge_channels=(16, 16, 32),
        gate_channels=32,
        hidden_channels=128,
        embed_dim=64,
    ),
    sampler=dict(count=48),
    freeze_first=False,
)
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
val_dataloader.dataset.update(root="data/simulated/nuscenes", sweeps=1, remove_close=2.0)
val_dataloader.update(batch_size=2, num_workers=0, persistent_workers=False, pin_memory=False)
val_evaluator.dataset.update(root="data/simulated/nuscenes")
test_dataloader = val_dataloader
test_evaluator = val_evaluator
train_cfg.update(max_epochs=20, val_interval=10)
optim_wrapper["optimizer"].update(lr=2e-3)
custom_hooks = [dict(type=MetricRecordHook, metric="nuscenes/NDS", split="validation")]
