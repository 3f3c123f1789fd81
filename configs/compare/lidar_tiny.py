# python tools/train.py configs/compare/lidar_tiny.py
"""LiDAR: P3P's voxel patches of whole sweeps of a drive; a linear probe tells annotated boxes apart.

48 x 48 x 6 m around the sensor become the cube that P3P cuts into patches of 4 x 4 x 0.5 m. The probe sees what stands
in and around each box: fitted to the first run of frames (0 to 29 of the recording), judged on the second (95 to 129),
in which two of the tracks are still there. The backbone is that of every file in this folder: 4 blocks of width 128
with 4 heads. Without a drive: lidar_tiny-simulated.py.
"""

from mmengine.config import read_base

from mae3d.datasets.lidar import BoxCrops, SequenceFolder, collate_packed
from mae3d.datasets.objects import collate_clouds
from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.datasets.transforms.lidar import FitRange, FlipScene, RotateScene, ScaleScene
from mae3d.engine.hooks import ProbeHook
from mae3d.engine.sampling import EpochSampler
from mae3d.models.methods import P3P

with read_base():
    from .._base_.schedules.compare import *

_range = (-24.0, -24.0, -3.0, 24.0, 24.0, 3.0)
model = dict(
    type=P3P,
    embed_dim=128,
    depth=4,
    num_heads=4,
    decoder_dim=64,
    decoder_depth=2,
    decoder_num_heads=4,
    color=False,
    cells=96,
    patch_size=8,
    max_patches=512,
)
data_preprocessor = dict(
    type=BatchPreprocessor,
    train_transforms=[
        dict(type=FlipScene, axes=("x", "y")),
        dict(type=RotateScene),
        dict(type=ScaleScene, low=0.95, high=1.05),
        dict(type=FitRange, point_range=_range),
    ],
    test_transforms=[dict(type=FitRange, point_range=_range)],
)
_drive = dict(type=SequenceFolder, root="data/lidar/kitti_drive_0005", features=(), remove_close=2.0)
train_dataloader = dict(
    dataset=_drive,
    sampler=dict(type=EpochSampler),
    collate_fn=dict(type=collate_packed),
    batch_size=4,
    num_workers=0,
    drop_last=True,
)
custom_hooks = [
    dict(
        type=ProbeHook,
        interval=1000000,
        kind="linear",
        train_dataloader=dict(
            dataset=dict(type=BoxCrops, dataset=_drive, frames=(0, 30)),
            sampler=dict(type=EpochSampler, shuffle=False),
            collate_fn=dict(type=collate_clouds),
            batch_size=64,
            num_workers=0,
        ),
        test_dataloader=dict(
            dataset=dict(type=BoxCrops, dataset=_drive, frames=(30, 65)),
            sampler=dict(type=EpochSampler, shuffle=False),
            collate_fn=dict(type=collate_clouds),
            batch_size=64,
            num_workers=0,
        ),
    ),
]
