"""nuScenes as Voxel-MAE reads it: key frame and sweeps without the car's own points, turned, scaled, mirrored, cut.

The published mirror turns the sensor's forward axis around, which is x here. The order of points plays no part, so
they are not shuffled.
"""

from mae3d.datasets.lidar import NuScenes, collate_packed
from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.datasets.transforms.lidar import FlipScene, RangeFilter, RotateScene, ScaleScene
from mae3d.engine.sampling import EpochSampler

data_preprocessor = dict(
    type=BatchPreprocessor,
    train_transforms=[
        dict(type=RotateScene, low=-0.3925, high=0.3925),
        dict(type=ScaleScene, low=0.95, high=1.05),
        dict(type=FlipScene, axes=("x",)),
        dict(type=RangeFilter, point_range=(-49.95, -49.95, -4.95, 49.95, 49.95, 2.95), boxes=False),
    ],
    test_transforms=[dict(type=RangeFilter, point_range=(-49.95, -49.95, -4.95, 49.95, 49.95, 2.95), boxes=False)],
)
train_dataloader = dict(
    dataset=dict(type=NuScenes, root="data/nuscenes", split="train", sweeps=2, features=(), remove_close=2.0),
    sampler=dict(type=EpochSampler),
    batch_size=4,
    num_workers=4,
    drop_last=True,
    persistent_workers=True,
    pin_memory=True,
    collate_fn=dict(type=collate_packed),
)
