"""What OpenPCDet does to the scenes of a pre-training run, but for pasted objects, which need labels."""

from mae3d.datasets.lidar import collate_packed
from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.datasets.transforms.lidar import FlipScene, RotateScene, ScaleScene
from mae3d.engine.sampling import EpochSampler

data_preprocessor = dict(
    type=BatchPreprocessor,
    train_transforms=[
        dict(type=FlipScene, axes=("x", "y")),
        dict(type=RotateScene),
        dict(type=ScaleScene, low=0.95, high=1.05),
    ],
)
train_dataloader = dict(
    sampler=dict(type=EpochSampler),
    collate_fn=dict(type=collate_packed),
    batch_size=4,
    num_workers=4,
    drop_last=True,
    persistent_workers=True,
    pin_memory=True,
)
